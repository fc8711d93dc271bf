"""Flags that say which checkpoint, and how a reference .pth file is completed; shared by the modes."""

from __future__ import annotations

from pathlib import Path

from absl import flags

_WHERE = "checkpoints"

flags.DEFINE_string("checkpoint", None, "A model folder, a diffusers folder, or a .pth file of the reference.", module_name=_WHERE)
flags.DEFINE_string("reference_config", None, "For a .pth file: the model's yaml, where it is not a released one.", module_name=_WHERE)
flags.DEFINE_string("codec_config", None, "For a .pth file: the codec's yaml.", module_name=_WHERE)
flags.DEFINE_string("mapping", None, "For a .pth file: taming_vqvae_2887.pt or taming_vqvae_974.pt.", module_name=_WHERE)
flags.DEFINE_string("codec", None, "For a .pth file: a codec file to use instead of the checkpoint's copy.", module_name=_WHERE)
flags.DEFINE_string("clip", None, "For a .pth file: ViT-B-32.pt to use instead of the checkpoint's copy.", module_name=_WHERE)
flags.DEFINE_enum("weights", "ema", ["ema", "model"], "For a .pth file: averaged or raw weights.", module_name=_WHERE)
flags.DEFINE_enum("dtype", None, ["float32", "bfloat16"], "Arithmetic; by default bfloat16 on accelerators.", module_name=_WHERE)

FLAGS = flags.FLAGS


def checkpoint() -> Path:
    if not FLAGS.checkpoint:
        raise ValueError("--checkpoint is needed: a model folder, a diffusers folder or a .pth file")
    return Path(FLAGS.checkpoint)


def companions() -> dict[str, str]:
    """The files that go with a .pth, as keyword arguments of ``loading.load``; empty if none is given."""
    names = {"config": "reference_config", "codec_config": "codec_config", "mapping": "mapping", "codec": "codec", "clip": "clip"}
    given = {name: FLAGS[flag].value for name, flag in names.items() if FLAGS[flag].value is not None}
    if FLAGS["weights"].present:
        given["weights"] = FLAGS.weights
    return given
