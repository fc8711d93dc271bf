"""The reference's files as a VQDiffusionModel, in one call."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from ..config import ComputeConfig
from ..errors import CheckpointError, ConfigError
from ..model_folder import read_clip_folder, read_codec_folder
from ..models.codebook_reduction import CodebookReduction
from ..models.vqdiffusion import VQDiffusionModel
from ..models.vqgan import VQGAN
from .clip.huggingface import read_clip
from .clip.openai import keeps_dtype, read_text
from .codecs.part import read_codec
from .codecs.reduction import read_reduction
from .codecs.yaml_file import codec_fields_of_yaml
from .detect import HUGGINGFACE_CLIP, kind_of_folder
from .engine import Part, Report, part_of_module
from .reference.checkpoint import read_weights
from .reference.plan import CODEC, TEXT_ENCODER, ReferencePlan, plan
from .reference.yaml_file import ModelFile, read_model_file


def load_reference(
    path: str | Path,
    *,
    tree: Any = None,
    config: str | Path | None = None,
    codec_config: str | Path | None = None,
    mapping: str | Path | None = None,
    codec: str | Path | None = None,
    clip: str | Path | None = None,
    weights: str = "ema",
    clip_weights: str | None = None,
    clip_dtype: str = "float32",
    compute: ComputeConfig = ComputeConfig(),
    text_compute: ComputeConfig | None = None,
) -> tuple[VQDiffusionModel, Report]:
    """Load a whole model from a training checkpoint of the reference (text, class-conditional or unconditional).

    Everything but the number of heads (16), the token grid and the dropout rates is read from the weights; ``config``
    is for models in which those differ from the releases.

    Args:
        path: coco_learnable.pth, ithq_learnable.pth, imagenet_pretrained.pth, ...
        tree: the content of the file, if it is open already.
        config: the model's yaml file.
        codec_config: the codec's yaml file.
        mapping: taming_vqvae_2887.pt or taming_vqvae_974.pt, for a model that keeps only some of its codec's codes.
        codec: a codec file or model folder of a codec to take instead of the checkpoint's copy.
        clip: ViT-B-32.pt, a Hugging Face CLIP folder or a model folder of CLIP to take instead of the same.
        weights: "ema", as the reference samples, or "model".
        clip_weights: the same for the text tower; None follows ``weights``.
        clip_dtype: dtype of CLIP's parameters: "float32", or "float16" to keep matrices that the file has in float16.
        compute: dtypes and execution of the module.
        text_compute: those of the text tower; None as in VQDiffusionModel.

    Returns:
        The model with numpy arrays for leaves, and the report of every key.

    Raises:
        CheckpointError: a file that cannot be read.
        ConfigError: a yaml or an argument that does not fit.
        ConversionError: weights that do not fill the model; lists all of them.
    """
    keeps_dtype(clip_dtype)  # checks the name before anything is read
    made = plan_reference(
        path,
        tree=tree,
        config=config,
        codec_config=codec_config,
        mapping=mapping,
        codec=codec,
        clip=clip,
        weights=weights,
        clip_weights=clip_weights,
    )
    return made.fill(clip_dtype=clip_dtype, compute=compute, text_compute=text_compute)


def plan_reference(
    path: str | Path,
    *,
    tree: Any = None,
    config: str | Path | None = None,
    codec_config: str | Path | None = None,
    mapping: str | Path | None = None,
    codec: str | Path | None = None,
    clip: str | Path | None = None,
    weights: str = "ema",
    clip_weights: str | None = None,
) -> ReferencePlan:
    """Plan what ``load_reference`` makes of the same arguments; tensors stay on disk.  Raises what that raises."""
    tensors, notes, remarks = read_weights(path, tree=tree, weights=weights, clip_weights=clip_weights)
    yaml = read_model_file(config) if config is not None else ModelFile({}, {})
    if codec_config is not None:
        yaml.fields["codec"] = {**codec_fields_of_yaml(codec_config), **yaml.fields.get("codec", {})}
    reduction = read_reduction(mapping) if mapping is not None else None
    codec_part = None
    if codec is not None:
        codec_part, kept = _codec_part(Path(codec))
        if kept and reduction and not np.array_equal(reduction.full_to_reduced, kept.full_to_reduced):
            raise ConfigError(f"{codec} keeps other codes than {mapping}; leave mapping out")
        reduction = kept or reduction
    made = plan(
        tensors,
        yaml=yaml.fields,
        defaults=yaml.defaults,
        where=" and ".join(str(file) for file in (config, codec_config) if file is not None),
        codec=codec_part,
        clip=_text_part(Path(clip)) if clip is not None else None,
        reduction=reduction,
        what=str(path),
        codec_name="" if codec is None else str(codec),
        reduction_name="the codebook reduction" if mapping is None else str(mapping),
    )
    made.notes[:0] = notes
    return dataclasses.replace(made, remarks=remarks)


def _codec_part(path: Path) -> tuple[Part, CodebookReduction | None]:
    """Read a codec file of any layout, or a model folder of a codec with the codes that it keeps."""
    label = f"{path.name}: "
    if not path.is_dir():
        return read_codec(path, label=label, ours=CODEC), None
    codec = read_codec_folder(path)
    fields = dataclasses.asdict(codec.config)
    del fields["reduced_codebook_size"]  # the tables go with the model, which may come with a file of its own
    tables = CodebookReduction._fields
    return part_of_module(codec, fields, label=label, ours=CODEC, without=tables), _reduction(codec)


def _reduction(codec: VQGAN) -> CodebookReduction | None:
    """Return the codes that a codec keeps, if it keeps only some."""
    if codec.config.reduced_codebook_size is None:
        return None
    return CodebookReduction(*(np.asarray(getattr(codec, name)[...]) for name in CodebookReduction._fields))


def _text_part(path: Path) -> Part:
    """Read the text tower of an OpenAI file, a Hugging Face folder or a model folder of CLIP."""
    label = f"{path.name}: "
    if not path.is_dir():
        return read_text(path, label=label, ours=TEXT_ENCODER)
    notes: tuple[str, ...] = ()
    if kind_of_folder(path) == HUGGINGFACE_CLIP:
        text, _, report = read_clip(path)
        notes = tuple(report.notes)
    else:
        text = read_clip_folder(path).text_encoder
    if text is None:
        raise CheckpointError(f"{path} has no text tower; give a CLIP that has one, such as ViT-B-32.pt")
    part = part_of_module(text, dataclasses.asdict(text.config), label=label, ours=TEXT_ENCODER)
    return dataclasses.replace(part, notes=notes)
