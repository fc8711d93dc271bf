"""Read and write the folder of a diffusers VQDiffusionPipeline.

Neither direction needs torch or diffusers.  In diffusers itself, up to 0.42.1,
``VQDiffusionPipeline.from_pretrained`` looks for a class at a place it has
left; this line before the call puts it back:

    diffusers.LearnedClassifierFreeSamplingEmbeddings = (
        diffusers.pipelines.deprecated.vq_diffusion.pipeline_vq_diffusion.LearnedClassifierFreeSamplingEmbeddings)
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..config import ComputeConfig, ModelConfig
from ..errors import ConfigError, ConversionError
from ..files import whole_or_not_at_all
from ..models.shapes import shapes_of
from ..models.vqdiffusion import VQDiffusionModel
from ..text.tokenizer import Tokenizer
from .diffusers_config import obstacles, part_configs, read_model_config
from .diffusers_rules import IGNORES, NOT_IN_FORMAT, NULL, pipeline_rules
from .huggingface_clip import fill_text_projection, write_clip_text
from .part_config import read_json, write_json
from .safetensors_files import open_weights, write_safetensors
from .table import Report, apply, unapply

PIPELINE = "VQDiffusionPipeline"
# Names of each part's weight file, without ending: diffusers' own, then transformers'.
_WEIGHTS = {
    "transformer": ("diffusion_pytorch_model",),
    "vqvae": ("diffusion_pytorch_model",),
    "text_encoder": ("model", "pytorch_model"),
    NULL: ("diffusion_pytorch_model",),
}
_NO_NULL = (
    "the folder has no learned null condition (revisions from before November 2022, among them fp16, lack it): "
    "learnable_null is False, and guidance takes the empty prompt"
)


def read_diffusers(
    folder: str | Path, compute: ComputeConfig = ComputeConfig(), text_compute: ComputeConfig | None = None
) -> tuple[VQDiffusionModel, Tokenizer, Report]:
    """A VQDiffusionPipeline folder, as ``save_pretrained`` writes it or as published, as our model.

    The tokenizer has the folder's vocabulary and the reference's text treatment; a prompt longer than its length keeps
    its end token, which diffusers cuts off.

    Args:
        folder: holds model_index.json and one folder a part; weights in safetensors (whole or sharded) or .bin.
        compute: precision of the model's parameters, and how it will run.
        text_compute: those of the text tower; None as in VQDiffusionModel.

    Returns:
        The model with numpy arrays for parameters, its tokenizer, and what was done with every key.

    Raises:
        CheckpointError: in one line for a file that is absent or corrupt.
        ConversionError: in one line for another kind of pipeline or an option that our networks lack, and with every
            key listed for weights that do not fill the model.
    """
    config, tokenizer = read_configs(folder)
    model, report = fill_diffusers(folder, config, compute, text_compute)
    return model, tokenizer, report


def fill_diffusers(
    folder: str | Path,
    config: ModelConfig,
    compute: ComputeConfig = ComputeConfig(),
    text_compute: ComputeConfig | None = None,
) -> tuple[VQDiffusionModel, Report]:
    """The model whose ``config`` ``read_configs`` found in ``folder``, its numbers read.  Arguments, errors as of ``read_diffusers``."""
    folder = Path(folder)
    tensors = _open_parts(folder, config.denoiser.learnable_null)
    module = shapes_of(VQDiffusionModel, config, compute, text_compute=text_compute)
    model, report = apply(
        pipeline_rules(len(config.codec.channel_multipliers)),
        IGNORES,
        tensors,
        module,
        optional=NOT_IN_FORMAT,
        what=str(folder),
    )
    if not config.denoiser.learnable_null:
        report.notes.append(_NO_NULL)
    return fill_text_projection(model, report), report


def read_configs(folder: str | Path) -> tuple[ModelConfig, Tokenizer]:
    """What model ``read_diffusers`` would make, and its tokenizer, without reading weights.  Raises what that raises."""
    folder = Path(folder)
    index = read_json(folder / "model_index.json")
    if index.get("_class_name") != PIPELINE:
        raise ConversionError(
            f"{folder / 'model_index.json'} is of a {index.get('_class_name')!r}; it must be of a {PIPELINE}"
        )
    tokenizer = _read_tokenizer(folder / "tokenizer")
    return read_model_config(folder, tokenizer.config), tokenizer


def _read_tokenizer(folder: Path) -> Tokenizer:
    try:
        return Tokenizer.from_huggingface(folder)
    except (ConfigError, OSError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise ConversionError(
            f"{folder} is not the folder of a CLIP tokenizer: {' '.join(str(error).split())}"
        ) from error


def _open_parts(folder: Path, learnable_null: bool) -> dict[str, Any]:
    """Every part's tensors, each name with its part in front."""
    parts = [part for part in _WEIGHTS if part != NULL or learnable_null]
    return {
        f"{part}.{name}": tensor
        for part in parts
        for name, tensor in open_weights(folder / part, *_WEIGHTS[part]).items()
    }


def write_diffusers(model: VQDiffusionModel, folder: str | Path, tokenizer: Tokenizer | None = None) -> None:
    """Write the folder that diffusers 0.42.1 reads, with safetensors throughout.

    The format has no place for the text tower's projection and the running means of an "ema" quantizer, which sampling
    does not use; read back, the codec's quantizer is "vq".

    Args:
        model: text condition, dense MLPs, every code of a "vq" or "ema" codebook in use.
        folder: absent or empty.  It appears whole or not at all.
        tokenizer: of the model; by default CLIP's, as the model's config says.

    Raises:
        ConversionError: listing every reason why diffusers cannot hold the model.
        FileExistsError: if the folder holds anything.
    """
    config = model.config
    if reasons := obstacles(config):
        raise ConversionError("diffusers cannot hold this model, which has " + "; ".join(reasons))
    tokenizer = tokenizer or Tokenizer(config.tokenizer)
    tensors = _part_tensors(model)
    with whole_or_not_at_all(folder) as place:
        for name, values in part_configs(config).items():
            (place / name).parent.mkdir(exist_ok=True)
            write_json(place / name, values)
        for part, weights in tensors.items():
            write_safetensors(place / part / "diffusion_pytorch_model.safetensors", weights)
        (place / "text_encoder").mkdir()
        start, end, pad = tokenizer.vocabulary.start, tokenizer.vocabulary.end, tokenizer.config.pad_token
        write_clip_text(model.text_encoder, place / "text_encoder", start=start, end=end, pad=pad)
        _write_tokenizer(tokenizer, place / "tokenizer")


def _part_tensors(model: VQDiffusionModel) -> dict[str, Mapping[str, np.ndarray]]:
    """What diffusers' own parts hold, by part."""
    skip = (*NOT_IN_FORMAT, r"text_encoder\..*")
    tensors = unapply(pipeline_rules(len(model.config.codec.channel_multipliers)), model, skip=skip)
    # Without a learned null condition the part still has its one tensor, empty.
    tensors.setdefault(f"{NULL}.embeddings", np.zeros((0,), np.float32))
    parts: dict[str, dict[str, np.ndarray]] = {}
    for name, array in tensors.items():
        part, _, rest = name.partition(".")
        parts.setdefault(part, {})[rest] = array
    return parts


def _write_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """A CLIPTokenizer's folder, in the plain files that every transformers reads."""
    vocabulary, config = tokenizer.vocabulary, tokenizer.config
    pads = [token for token, index in vocabulary.ids.items() if index == config.pad_token]
    if not pads:
        raise ConversionError(
            f"the tokenizer's pad_token {config.pad_token} is not an id of its vocabulary; diffusers needs one that is"
        )
    tokenizer.to_files(folder)
    (folder / "config.json").unlink()  # to_files' own settings, which here stand in tokenizer_config.json
    special = {
        "bos_token": vocabulary.start_token,
        "eos_token": vocabulary.end_token,
        "pad_token": pads[0],
        "unk_token": vocabulary.end_token,
    }
    settings = {"model_max_length": config.context_length, "tokenizer_class": "CLIPTokenizer"}
    write_json(folder / "special_tokens_map.json", special)
    write_json(folder / "tokenizer_config.json", special | settings)
