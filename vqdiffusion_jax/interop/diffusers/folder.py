"""Folders of a diffusers VQDiffusionPipeline, read and written without torch or diffusers.

Up to diffusers 0.42.1, ``VQDiffusionPipeline.from_pretrained`` looks for a class at a place that it has left; this line
before the call puts it back:

    diffusers.LearnedClassifierFreeSamplingEmbeddings = (
        diffusers.pipelines.deprecated.vq_diffusion.pipeline_vq_diffusion.LearnedClassifierFreeSamplingEmbeddings)
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ...config import ComputeConfig, ModelConfig
from ...errors import ConfigError, ConversionError, shown
from ...files import whole_or_not_at_all
from ...models.codebook_reduction import first_codes_kept
from ...models.shapes import shapes_of
from ...models.vqdiffusion import VQDiffusionModel
from ...models.vqgan import VQGAN
from ...storage.scratch import as_typed
from ...text.tokenizer import Tokenizer
from ..clip.huggingface import fill_text_projection, write_clip_text
from ..codecs.reduction import reduction_rules, reduction_tensors
from ..engine import Report, apply, unapply
from ..files.json_options import read_json, write_json
from ..files.safetensors import open_weights, write_safetensors
from .config import obstacles, part_configs, read_model_config
from .rules import IGNORES, NOT_IN_FORMAT, NULL, pipeline_rules

PIPELINE = "VQDiffusionPipeline"
_TIME_EMBEDDING = re.compile(r"transformer\.transformer_blocks\.\d+\.norm[12]\.emb\.weight")
# Layers without bias if attention_bias is False.
_PROJECTION = re.compile(r"transformer\.transformer_blocks\.\d+\.attn[12]\.to_[qkv]\.weight")
# Names of the weight files of each part, without ending: diffusers' own, then transformers'.
_WEIGHTS = {
    "transformer": ("diffusion_pytorch_model",),
    "vqvae": ("diffusion_pytorch_model",),
    "text_encoder": ("model", "pytorch_model"),
    NULL: ("diffusion_pytorch_model",),
}
# Classes of each part, in model_index.json and in its own config.
_CLASSES = {
    "transformer": ("Transformer2DModel",),
    "vqvae": ("VQModel",),
    "text_encoder": ("CLIPTextModel", "CLIPTextModelWithProjection"),
    "tokenizer": ("CLIPTokenizer", "CLIPTokenizerFast"),
    "scheduler": ("VQDiffusionScheduler",),
    NULL: ("LearnedClassifierFreeSamplingEmbeddings",),
}
_WITH_CONFIG = {
    "transformer": "config.json",
    "vqvae": "config.json",
    "scheduler": "scheduler_config.json",
    NULL: "config.json",
}
_NO_NULL = (
    "the folder has no learned null condition (revisions from before November 2022, among them fp16, lack it): "
    "learnable_null is False, and guidance takes the empty prompt"
)


def read_diffusers(
    folder: str | Path,
    compute: ComputeConfig = ComputeConfig(),
    text_compute: ComputeConfig | None = None,
    *,
    variant: str | None = None,
) -> tuple[VQDiffusionModel, Tokenizer, Report]:
    """Load a VQDiffusionPipeline folder, as ``save_pretrained`` writes it or as published.

    The tokenizer has the folder's vocabulary and the reference's text treatment; a prompt longer than its length keeps
    its end token, which diffusers cuts off.

    Args:
        folder: holds model_index.json and one folder a part; weights in safetensors (whole or sharded) or .bin.
        compute: precision of the model's parameters, and how it will run.
        text_compute: those of the text tower; None as in VQDiffusionModel.
        variant: the one of each part's weights to prefer, as "fp16".

    Returns:
        The model with numpy arrays for parameters, its tokenizer, and the report of every key.

    Raises:
        CheckpointError: for a file that is absent or corrupt.
        ConversionError: for another kind of pipeline or an option that our networks lack, and, with every key listed,
            for weights that do not fill the model.
    """
    config, tokenizer = read_configs(folder)
    model, report = fill_diffusers(folder, config, compute, text_compute, variant=variant)
    return model, tokenizer, report


def fill_diffusers(
    folder: str | Path,
    config: ModelConfig,
    compute: ComputeConfig = ComputeConfig(),
    text_compute: ComputeConfig | None = None,
    *,
    variant: str | None = None,
) -> tuple[VQDiffusionModel, Report]:
    """Load the model with the ``config`` of ``read_configs``.  Arguments and errors are those of ``read_diffusers``."""
    folder = Path(folder)
    tensors, rules = _open_parts(folder, config, variant), pipeline_rules(len(config.codec.channel_multipliers))
    if config.codec.reduced_codebook_size is not None:
        tensors |= reduction_tensors(first_codes_kept(config.codec.codebook_size, config.codec.num_codes))
        rules += reduction_rules("codec.")
    module = shapes_of(VQDiffusionModel, config, compute, text_compute=text_compute)
    model, report = apply(rules, IGNORES, tensors, module, optional=NOT_IN_FORMAT, what=str(folder))
    if not config.denoiser.learnable_null:
        report.notes.append(_NO_NULL)
    return fill_text_projection(model, report), report


def read_configs(folder: str | Path) -> tuple[ModelConfig, Tokenizer]:
    """Return the configuration and the tokenizer of the model of ``read_diffusers``.  Raises what that raises."""
    folder = Path(folder)
    index = read_json(folder / "model_index.json")
    if index.get("_class_name") != PIPELINE:
        raise ConversionError(
            f"{folder / 'model_index.json'} is of a {index.get('_class_name')!r}; it must be of a {PIPELINE}"
        )
    _check_parts(folder, index)
    tokenizer = _read_tokenizer(folder / "tokenizer")
    config = read_model_config(folder, tokenizer.config)
    if not (folder / NULL).is_dir():
        warnings.warn(f"{as_typed(str(folder))}: {_NO_NULL}", stacklevel=3)
    return config, tokenizer


def _check_parts(folder: Path, index: Mapping[str, Any]) -> None:
    """Raise ConversionError for a part that model_index.json names and the folder lacks, and for one of another class.

    A part that is [null, null] there is absent on purpose.
    """
    for part, classes in _CLASSES.items():
        named = index.get(part, [None, None])
        if not isinstance(named, list) or len(named) != 2:
            raise ConversionError(f"{folder / 'model_index.json'}: {part} is {shown(named)}; it must be two names")
        if named[1] is not None and not (folder / part).is_dir():
            raise ConversionError(
                f"{folder} lacks the folder {part}, which its model_index.json names, so the copy is not complete; "
                "fetch the folder again"
            )
        stated = [(folder / "model_index.json", named[1])]
        if part in _WITH_CONFIG and (file := folder / part / _WITH_CONFIG[part]).is_file():
            stated.append((file, read_json(file).get("_class_name")))
        for file, name in stated:
            if name is not None and name not in classes:
                raise ConversionError(f"{file}: {part} is a {shown(name)}; it must be a {' or '.join(classes)}")


def _read_tokenizer(folder: Path) -> Tokenizer:
    try:
        return Tokenizer.from_huggingface(folder)
    except (ConfigError, OSError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise ConversionError(
            f"{folder} is not the folder of a CLIP tokenizer: {' '.join(str(error).split())}"
        ) from error


def _open_parts(folder: Path, config: ModelConfig, variant: str | None) -> dict[str, Any]:
    """Return the tensors of every part, each name with its part in front."""
    parts = [part for part in _WEIGHTS if part != NULL or config.denoiser.learnable_null]
    tensors = {
        f"{part}.{name}": tensor
        for part in parts
        for name, tensor in open_weights(folder / part, *_WEIGHTS[part], variant=variant).items()
    }
    for name in list(tensors):
        if _TIME_EMBEDDING.fullmatch(name):  # it may have more rows than the schedule has timesteps
            tensors[name] = np.asarray(tensors[name])[: config.denoiser.num_timesteps]
    if not read_json(folder / "transformer" / "config.json").get("attention_bias", False):
        for name in [name for name in tensors if _PROJECTION.fullmatch(name)]:
            bias = name.removesuffix("weight") + "bias"
            tensors[bias] = np.zeros(tensors[name].shape[0], tensors[name].dtype)
    return tensors


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
    if reasons := obstacles(config, first_codes=_keeps_first_codes(model.codec)):
        raise ConversionError("diffusers cannot hold this model, which has " + "; ".join(reasons))
    if model.text_encoder is None or config.tokenizer is None:
        raise ConversionError("diffusers cannot hold this model, which has no text encoder")
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


def _keeps_first_codes(codec: VQGAN) -> bool:
    tables = jax.tree.leaves(codec.reduced_to_full)
    return all(
        not isinstance(kept, jax.ShapeDtypeStruct) and np.array_equal(kept, np.arange(len(kept))) for kept in tables
    )


def _part_tensors(model: VQDiffusionModel) -> Mapping[str, Mapping[str, np.ndarray]]:
    """Return the tensors of diffusers' own parts, by part."""
    skip = (*NOT_IN_FORMAT, r"text_encoder\..*")
    tensors = unapply(pipeline_rules(len(model.config.codec.channel_multipliers)), model, skip=skip)
    # Without a learned null condition the tensor of that part is empty.
    tensors.setdefault(f"{NULL}.embeddings", np.zeros((0,), np.float32))
    parts: dict[str, dict[str, np.ndarray]] = {}
    for name, array in tensors.items():
        part, _, rest = name.partition(".")
        parts.setdefault(part, {})[rest] = array
    return parts


def _write_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write the folder of a CLIPTokenizer, in the plain files that every version of transformers reads."""
    vocabulary, config = tokenizer.vocabulary, tokenizer.config
    pads = [token for token, index in vocabulary.ids.items() if index == config.pad_token]
    if not pads:
        raise ConversionError(
            f"the tokenizer's pad_token {config.pad_token} is no id of its vocabulary; diffusers needs one that is"
        )
    tokenizer.to_files(folder)
    (folder / "config.json").unlink()  # of to_files; here tokenizer_config.json holds the settings
    special = {
        "bos_token": vocabulary.start_token,
        "eos_token": vocabulary.end_token,
        "pad_token": pads[0],
        "unk_token": vocabulary.end_token,
    }
    settings = {"model_max_length": config.context_length, "tokenizer_class": "CLIPTokenizer"}
    write_json(folder / "special_tokens_map.json", special)
    write_json(folder / "tokenizer_config.json", special | settings)
