"""Flags of a checkpoint and of the files that complete a .pth file of the reference; the modes share them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from absl import flags

from ..config import MODEL_DTYPES
from ..embedded import DEFAULT

if TYPE_CHECKING:
    from ..config import ComputeConfig
    from ..loading import OpenedModel

_WHERE = "checkpoints"
# Flags that complete a file given as --checkpoint or --init_from.
COMPANIONS = (
    "reference_config",
    "codec_config",
    "mapping",
    "codec",
    "clip",
    "weights",
    "clip_weights",
    "clip_dtype",
    "trust",
)

flags.DEFINE_string(
    "checkpoint",
    None,
    "A model folder, a diffusers folder, a .pth file of the reference, or one of these on the Hugging Face hub, "
    "owner/name or hf://owner/name[@revision][/subfolder].  sample, demo, eval: by default emoji, which comes "
    "with the package.",
    module_name=_WHERE,
)
flags.DEFINE_string(
    "reference_config", None, "For a .pth file: the model's yaml, where it is not a released one.", module_name=_WHERE
)
flags.DEFINE_string("codec_config", None, "For a .pth file: the codec's yaml.", module_name=_WHERE)
flags.DEFINE_string(
    "mapping",
    None,
    "For a .pth file: the codes that it keeps, taming_vqvae_2887.pt or taming_vqvae_974.pt.",
    module_name=_WHERE,
)
flags.DEFINE_string(
    "codec",
    None,
    "A codec file, or the folder of a codec or of a whole model, here or on the hub.  For a .pth file: in place of its "
    "own.  train, tokenize, reduce_codebook: the codec of the tokens.",
    module_name=_WHERE,
)
flags.DEFINE_string(
    "clip",
    None,
    "ViT-B-32.pt, or a folder of CLIP, here or on the hub.  For a .pth file: in place of its own.  train: the text "
    "tower.",
    module_name=_WHERE,
)
flags.DEFINE_enum("weights", "ema", ["ema", "model"], "For a .pth file: averaged or raw weights.", module_name=_WHERE)
flags.DEFINE_enum("clip_weights", None, ["ema", "model"], "The same for the text tower alone.", module_name=_WHERE)
flags.DEFINE_enum(
    "clip_dtype",
    None,
    ["float32", "float16"],
    "Arithmetic of the text tower, float16 in the reference; default as --dtype.  convert: float16 keeps "
    "matrices that the file has in float16.",
    module_name=_WHERE,
)
flags.DEFINE_enum(
    "dtype",
    None,
    list(MODEL_DTYPES),
    "Arithmetic; by default bfloat16 on accelerators.  float8: bfloat16, with the denoiser's matmuls in float8.",
    module_name=_WHERE,
)
flags.DEFINE_multi_string(
    "trust",
    [],
    "package.module:Class, a noise schedule outside the package that a model folder may import; repeat for several.",
    module_name=_WHERE,
)

FLAGS = flags.FLAGS


def checkpoint() -> str:
    """Return --checkpoint.  Raises ValueError if it is not given."""
    if not FLAGS.checkpoint:
        raise ValueError(
            "--checkpoint is needed: a model folder, a diffusers folder, a .pth file or owner/name on the hub"
        )
    return FLAGS.checkpoint


def checkpoint_or_embedded() -> str:
    """Return --checkpoint, by default the name of the embedded model."""
    return FLAGS.checkpoint or DEFAULT


def chosen_compute(platform: str | None = None) -> ComputeConfig:
    """Return the precision of weights and arithmetic: --dtype, by default the device's; float32 with --faithful.

    platform: of the machine that is to compute, "cpu", "tpu" or "cuda"; by default this one's.
    Raises ValueError if the two contradict each other.
    """
    from ..config import ComputeConfig, compute_in
    from ..loading import default_compute

    if FLAGS.faithful:
        if FLAGS.dtype not in (None, "float32"):
            raise ValueError(f"--faithful and --dtype={FLAGS.dtype} are both given; faithful runs are float32")
        return ComputeConfig()
    return default_compute(platform) if FLAGS.dtype is None else compute_in(FLAGS.dtype)


def codec_compute() -> ComputeConfig:
    """Return the precision of a codec that makes tokens: --dtype, by default float32, because tokens are kept for long.

    Raises ValueError for float8.
    """
    from ..config import ComputeConfig

    if FLAGS.dtype == "float8":
        raise ValueError("--dtype=float8 is for the denoiser; a codec runs in float32 or bfloat16")
    return ComputeConfig(dtype=FLAGS.dtype or "float32")


def companions() -> dict[str, Any]:
    """Return the companions given with a checkpoint, as keyword arguments of ``load_model`` and ``convert``."""
    names = {
        "config": "reference_config",
        "codec_config": "codec_config",
        "mapping": "mapping",
        "codec": "codec",
        "clip": "clip",
    }
    names |= {"clip_weights": "clip_weights", "clip_dtype": "clip_dtype"}
    given = {name: FLAGS[flag].value for name, flag in names.items() if FLAGS[flag].value is not None}
    if FLAGS["weights"].present:
        given["weights"] = FLAGS.weights
    return given


def open_checkpoint() -> OpenedModel:
    """Open the model of --checkpoint (by default the embedded one) and its companions, without weights.

    Raises what ``load_model`` raises.
    """
    from ..loading import open_model

    return open_model(
        checkpoint_or_embedded(), **{name: value for name, value in companions().items() if name != "clip_dtype"}
    )
