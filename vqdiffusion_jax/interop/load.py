"""One call from the reference's files to a VQDiffusionModel."""

from __future__ import annotations

from pathlib import Path

import jax
from flax import nnx

from ..config import ComputeConfig
from ..models.vqdiffusion import VQDiffusionModel
from .codecs import read_codec, read_reduction
from .facts import Facts
from .openai_clip import keeps_dtype, read_clip
from .reference import plan, read_weights
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
) -> tuple[VQDiffusionModel, Report]:
    """A whole model from a training checkpoint of the reference (text, class-conditional or unconditional).

    Everything but the number of heads (16), the token grid and the dropout rates is read from the weights; ``config`` is
    for models in which those differ from the releases.

    Args:
        path: coco_learnable.pth, ithq_learnable.pth, imagenet_pretrained.pth, ...
        config: the model's yaml file.
        codec_config: the codec's yaml file.
        mapping: taming_vqvae_2887.pt or taming_vqvae_974.pt, for a model that keeps only some of its codec's codes.
        codec: a codec file to take instead of the checkpoint's copy.
        clip: ViT-B-32.pt, to take instead of the checkpoint's copy.
        weights: "ema", as the reference samples, or "model".
        clip_weights: the same for the text tower; None follows ``weights``.
        clip_dtype: "float32", or "file" to keep CLIP's float16 matrices.
        compute: dtypes and execution of the module.

    Returns:
        The model with numpy arrays for leaves, and what became of every key.

    Raises:
        CheckpointError: a file that cannot be read.
        ConfigError: a yaml or an argument that does not fit.
        ConversionError: weights that do not fill the model; lists all of them.
    """
    keep = keeps_dtype(clip_dtype, "text_encoder.")
    tensors, notes = read_weights(path, weights=weights, clip_weights=clip_weights)
    yaml: Facts = model_facts(config) if config is not None else {}
    if codec_config is not None:
        yaml["codec"] = {**codec_facts(codec_config), **yaml.get("codec", {})}
    made = plan(
        tensors,
        yaml=yaml,
        where=" and ".join(str(p) for p in (config, codec_config) if p is not None),
        codec=read_codec(codec, _label(codec)) if codec is not None else None,
        clip=read_clip(clip, _label(clip)) if clip is not None else None,
        reduction=read_reduction(mapping) if mapping is not None else None,
    )
    abstract = jax.eval_shape(lambda: VQDiffusionModel(made.config, compute, rngs=nnx.Rngs(0)))
    model, report = apply(made.rules, made.ignores, made.tensors, abstract, keep_dtype=keep, what=str(path))
    report.notes += notes + made.notes
    return model, report


def _label(path: str | Path) -> str:
    return f"{Path(path).name}: "
