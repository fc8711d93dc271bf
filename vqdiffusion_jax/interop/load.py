"""One call from the reference's files to a VQDiffusionModel."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..config import ComputeConfig
from ..errors import ConfigError
from ..models.shapes import shapes_of
from ..models.vqdiffusion import VQDiffusionModel
from .codecs import read_reduction
from .facts import Facts
from .openai_clip import keeps_dtype
from .parts import FilledPart, clip_source, codec_source
from .reference import ReferencePlan, plan, read_weights
from .reference_yaml import codec_facts, model_facts
from .table import Report, apply


def load_reference(
    path: str | Path,
    *,
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
    """A whole model from a training checkpoint of the reference (text, class-conditional or unconditional).

    Everything but the number of heads (16), the token grid and the dropout rates is read from the weights; ``config`` is
    for models in which those differ from the releases.

    Args:
        path: coco_learnable.pth, ithq_learnable.pth, imagenet_pretrained.pth, ...
        config: the model's yaml file.
        codec_config: the codec's yaml file.
        mapping: taming_vqvae_2887.pt or taming_vqvae_974.pt, for a model that keeps only some of its codec's codes.
        codec: a codec file or native codec folder to take instead of the checkpoint's copy.
        clip: ViT-B-32.pt, a Hugging Face CLIP folder or a native one, to take instead of the checkpoint's copy.
        weights: "ema", as the reference samples, or "model".
        clip_weights: the same for the text tower; None follows ``weights``.
        clip_dtype: what CLIP's parameters are held in: "float32", or "float16" to keep matrices that the file has in float16.
        compute: dtypes and execution of the module.
        text_compute: those of the text tower; None as in VQDiffusionModel.

    Returns:
        The model with numpy arrays for leaves, and what became of every key.

    Raises:
        CheckpointError: a file that cannot be read.
        ConfigError: a yaml or an argument that does not fit.
        ConversionError: weights that do not fill the model; lists all of them.
    """
    keeps_dtype(clip_dtype)  # checks the name, before anything is read
    made = plan_reference(
        path,
        config=config,
        codec_config=codec_config,
        mapping=mapping,
        codec=codec,
        clip=clip,
        weights=weights,
        clip_weights=clip_weights,
    )
    return fill_reference(made, path, clip_dtype=clip_dtype, compute=compute, text_compute=text_compute)


def fill_reference(
    made: ReferencePlan,
    path: str | Path,
    *,
    clip_dtype: str = "float32",
    compute: ComputeConfig = ComputeConfig(),
    text_compute: ComputeConfig | None = None,
) -> tuple[VQDiffusionModel, Report]:
    """The model that ``plan_reference`` has made of ``path``, its numbers read.  Arguments, results, errors as of ``load_reference``."""
    keep = keeps_dtype(clip_dtype, "text_encoder.")
    abstract = shapes_of(VQDiffusionModel, made.config, compute, text_compute=text_compute)
    model, report = apply(made.rules, made.ignores, made.tensors, abstract, keep_dtype=keep, what=str(path))
    report.notes += made.notes
    return model, report


def plan_reference(
    path: str | Path,
    *,
    config: str | Path | None = None,
    codec_config: str | Path | None = None,
    mapping: str | Path | None = None,
    codec: str | Path | None = None,
    clip: str | Path | None = None,
    weights: str = "ema",
    clip_weights: str | None = None,
) -> ReferencePlan:
    """What model ``load_reference`` would make of its arguments, and how; tensors stay on disk.  Raises what that raises."""
    tensors, notes = read_weights(path, weights=weights, clip_weights=clip_weights)
    yaml: Facts = model_facts(config) if config is not None else {}
    if codec_config is not None:
        yaml["codec"] = {**codec_facts(codec_config), **yaml.get("codec", {})}
    replaced = codec_source(codec) if codec is not None else None
    clip_given = clip_source(clip) if clip is not None else None
    reduction = read_reduction(mapping) if mapping is not None else None
    if isinstance(replaced, FilledPart) and replaced.reduction is not None:
        if reduction is not None and not np.array_equal(reduction.full_to_reduced, replaced.reduction.full_to_reduced):
            raise ConfigError(f"{codec} keeps other codes than {mapping}; leave mapping out")
        reduction = replaced.reduction
    made = plan(
        tensors,
        yaml=yaml,
        where=" and ".join(str(p) for p in (config, codec_config) if p is not None),
        codec=replaced,
        clip=clip_given,
        reduction=reduction,
    )
    made.notes[:] = (
        notes + made.notes + [note for part in (replaced, clip_given) for note in getattr(part, "notes", ())]
    )
    return made
