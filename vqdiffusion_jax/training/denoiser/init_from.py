"""The start of a run: frozen networks from files, parameters from a checkpoint that need not fit in every row."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ...config import ComputeConfig
from ...errors import ConfigError, and_more
from ...hub import locate
from ...models.clip import CLIPTextEncoder
from ...models.denoiser import Denoiser
from ...models.shapes import make_rngs, shapes_of
from ...models.vqdiffusion import VQDiffusionModel
from ...models.vqgan import VQGAN
from ...paths import path_of
from ...text.tokenizer import Tokenizer
from .config import TrainConfig
from .state import Trained, fresh_networks


@dataclass(frozen=True)
class Pretrained:
    """The networks that a run begins with."""

    codec: VQGAN | None = None  # None if tokens are cached and no file was given; then no pictures are drawn
    text_encoder: CLIPTextEncoder | None = None  # text models whose tower is not trained
    tokenizer: Tokenizer | None = None  # text models
    trained: Trained | None = None  # parameters to start from; None for random ones
    report: tuple[str, ...] = ()  # lines that say what was taken from where
    codec_fingerprint: str | None = None  # of the codec that made a token cache, where no codec is given
    base: Denoiser | None = None  # the denoiser that a LoRA adapts
    base_name: str | None = None  # as it was given


def frozen_compute(config: TrainConfig) -> ComputeConfig:
    """Return the arithmetic of codec and text tower inside the step."""
    return ComputeConfig(dtype=config.frozen_dtype, attention=config.compute.attention)


def load_pretrained(
    config: TrainConfig,
    /,
    *,
    init_from: str | Path | None = None,
    codec: str | Path | None = None,
    clip: str | Path | None = None,
    needs_codec: bool = True,
    **companions: Any,
) -> Pretrained:
    """Load networks from ``init_from`` (anything ``loading.load_model`` reads), or from files of their own instead.

    codec, clip: anything ``loading.load_codec`` and ``loading.load_clip`` read.
    companions: config, codec_config, mapping, weights, clip_weights and clip_dtype, as for ``loading.load_model``; of
    those that complete a file, the codec's also go with ``codec``, and ``clip_dtype`` with a text tower of ``clip`` or
    ``init_from``.  Raises ConfigError, one line, for a network that is missing or does not fit, and for a companion
    that nothing reads.
    """
    model, report = config.model, []
    if config.lora.rank and init_from is None:
        raise ConfigError(f"lora.rank is {config.lora.rank}, but there is no model to adapt; pass --init_from=MODEL")
    trains_text = config.train_text_encoder
    needs_text = model.text_encoder is not None and not trains_text
    source_name, init_from = init_from, None if init_from is None else locate(init_from).path
    from_file = init_from is not None and not init_from.is_dir()
    _check_used(companions, from_file=from_file, init_from=init_from, codec=codec, clip=clip, needs_text=needs_text)
    clip_dtype = companions.pop("clip_dtype", None)
    source = tokenizer = None
    if init_from is not None:
        from ...loading import load_model

        reading = dict(companions) if from_file else {}
        if clip is None:
            reading["clip_dtype"] = clip_dtype
        source, tokenizer = load_model(init_from, compute=frozen_compute(config), **reading)
        report.append(f"starting from {source_name}")

    found_codec = _codec(config, source, codec, companions)
    tower = None
    if needs_text or trains_text and (source or clip):
        tower = _text_encoder(config, source, clip, clip_dtype)
    missing_codec, missing_tower = needs_codec and found_codec is None, needs_text and tower is None
    if missing_codec or missing_tower:
        untrained = _untrained(config, *(("codec", "codec") if missing_codec else ("text_encoder", "clip")))
        if missing_codec:
            found_codec = untrained.codec
            report.append("codec: random weights, as untrained_towers=True allows")
        if missing_tower:
            tower = untrained.text_encoder
            report.append("text_encoder: random weights, as untrained_towers=True allows")

    trained = base = None
    if config.lora.rank and source is not None:
        base, lines = _base(config, source)
        report += lines
    elif source is not None or trains_text and tower is not None:
        trained, lines = _start(config, source, tower)
        report += lines
    if tokenizer is None and model.tokenizer is not None:
        tokenizer = Tokenizer(model.tokenizer)
    return Pretrained(
        found_codec,
        None if trains_text else tower,
        tokenizer,
        trained,
        tuple(report),
        base=base,
        base_name=None if base is None else str(source_name),
    )


def _untrained(config: TrainConfig, missing: str, flag: str) -> VQDiffusionModel:
    """Return a model of random weights.

    Raises ConfigError, naming the network and its flag, unless the config allows them.
    """
    if not config.untrained_towers:
        raise ConfigError(
            f"no {missing} is given; pass --init_from=MODEL or --{flag}=FILE "
            "(or untrained_towers=True to try things out)"
        )
    return jax.jit(lambda: VQDiffusionModel(config.model, frozen_compute(config), rngs=make_rngs(config.seed)))()


def _start(
    config: TrainConfig, source: VQDiffusionModel | None, given_tower: CLIPTextEncoder | None
) -> tuple[Trained, list[str]]:
    """Return fresh networks with the parameters of ``source``'s denoiser and of a trained text tower, and a report."""
    fresh: Trained = jax.tree.map(np.asarray, jax.jit(lambda: fresh_networks(config))())
    denoiser, tower, report = fresh.denoiser, fresh.text_encoder, []
    if source is not None:
        denoiser, lines = adopt(denoiser, source.denoiser)
        report += lines
    if tower is not None and given_tower is not None:
        tower, lines = adopt(tower, given_tower)
        report += lines
    return Trained(denoiser, tower), report


def _base(config: TrainConfig, source: VQDiffusionModel) -> tuple[Denoiser, list[str]]:
    """Return the denoiser of ``source`` on the host, as a LoRA's base, with lines about what was made to fit.

    Raises ConfigError if it lacks the null condition, which LoRA does not train.
    """
    wanted = config.model.denoiser
    if wanted.learnable_null and wanted.condition == "text" and source.denoiser.null_condition is None:
        raise ConfigError(
            "the model to adapt has no learned null condition, and LoRA trains none; "
            "set model.denoiser.learnable_null=False"
        )
    shapes = shapes_of(Denoiser, wanted, replace(config.compute, param_dtype=config.frozen_dtype))
    found, report = adopt(shapes, source.denoiser)
    return jax.tree.map(lambda leaf, like: leaf.astype(like.dtype), found, shapes), report


def adopt(fresh: Any, given: Any) -> tuple[Any, list[str]]:
    """Return ``fresh``, a denoiser or text tower, with all parameters that ``given`` has, and a line for each it lacks.

    A checkpoint may lack the null embedding, which then stays as initialised, and rows at the end of a class table:
    these become the mean row, which the network takes for "no class" until then.  Where the number of timesteps
    differs, a timestep takes the row that was as far along the schedule.  Raises ConfigError naming every parameter
    that fits neither way.
    """
    theirs = {path_of(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(given)}
    paths, structure = jax.tree_util.tree_flatten_with_path(fresh)
    leaves, report, problems = [], [], []
    for path, ours in paths:
        name = path_of(path)
        found = theirs.pop(name, None)
        if found is None:
            leaves.append(ours)
            (report if name == "null_condition" else problems).append(f"{name}: not in the checkpoint, initialised")
            continue
        found = np.asarray(found, np.float32)
        fits_but_rows = found.ndim == 3 and found.shape[::2] == ours.shape[::2]
        is_class_table = name.endswith("mlp_norm.embedding.embedding")
        is_timestep_table = name.endswith(("self_norm.embedding.embedding", "cross_norm.embedding.embedding"))
        if found.shape == ours.shape:
            leaves.append(found)
        elif is_timestep_table and fits_but_rows:
            rows = np.linspace(0, found.shape[1] - 1, ours.shape[1]).round().astype(int)
            leaves.append(found[:, rows])
            report.append(f"{name}: {ours.shape[1]} of the checkpoint's {found.shape[1]} timesteps, evenly spaced")
        elif is_class_table and fits_but_rows and found.shape[1] < ours.shape[1]:
            missing = ours.shape[1] - found.shape[1]
            mean = np.repeat(found.mean(1, keepdims=True), missing, axis=1)
            leaves.append(np.concatenate([found, mean], axis=1))
            report.append(f"{name}: {found.shape[1]} rows in the checkpoint, {missing} more made from their mean")
        else:
            leaves.append(ours)
            problems.append(f"{name} is {found.shape} in the checkpoint, {ours.shape} here")
    ignored = [name for name in theirs if name == "null_condition"]
    problems += [f"{name} is in the checkpoint but not in this model" for name in theirs if name not in ignored]
    report += [f"{name}: in the checkpoint, not used by this model" for name in ignored]
    if problems:
        told = and_more(problems[:3], len(problems), "; ")
        raise ConfigError(f"the checkpoint to start from does not fit the model: {told}")
    return jax.tree.unflatten(structure, leaves), report


# Companion: its flag, and the flags that it completes.
_COMPLETES = {
    "config": ("reference_config", "--init_from=FILE"),
    "weights": ("weights", "--init_from=FILE"),
    "clip_weights": ("clip_weights", "--init_from=FILE, unless --clip is given"),
    "codec_config": ("codec_config", "--init_from=FILE or --codec=FILE"),
    "mapping": ("mapping", "--init_from=FILE or --codec=FILE"),
    "clip_dtype": ("clip_dtype", "a text tower that is not trained, of --init_from or --clip"),
}


def _check_used(
    companions: dict[str, Any], *, from_file: bool, init_from: Any, codec: Any, clip: Any, needs_text: bool
) -> None:
    """Raise ConfigError for companions that complete nothing of what is given."""
    used = {
        "config": from_file,
        "weights": from_file,
        "clip_weights": from_file and clip is None,
        "codec_config": from_file or codec is not None,
        "mapping": from_file or codec is not None,
        "clip_dtype": needs_text and not (init_from is None and clip is None),
    }
    if unused := [_COMPLETES[name] for name in companions if not used[name]]:
        raise ConfigError(
            "; ".join(f"--{flag} is given, but it goes with {what}; leave it out" for flag, what in unused)
        )


def _codec(config: TrainConfig, source: Any, path: str | Path | None, companions: dict[str, Any]) -> VQGAN | None:
    wanted = config.model.codec
    if path is not None:
        from ...loading import load_codec

        path = locate(path, "codec").path
        found = load_codec(
            path,
            config=companions.get("codec_config"),
            mapping=companions.get("mapping"),
            image_size=None if path.is_dir() else wanted.image_size,
            compute=frozen_compute(config),
        )
    elif source is not None:
        found = source.codec
    else:
        return None
    if found.config.num_codes != wanted.num_codes or found.config.grid != wanted.grid:
        raise ConfigError(
            f"the codec has K = {found.config.num_codes} codes on a grid of {found.config.grid}, "
            f"but the model expects {wanted.num_codes} on {wanted.grid}; "
            f"{'--init_from' if path is None else path} was trained with another configuration than --config: give"
            " the one that belongs to it"
        )
    return found


def _text_encoder(
    config: TrainConfig, source: Any, path: str | Path | None, clip_dtype: str | None
) -> CLIPTextEncoder | None:
    wanted = config.model.text_encoder
    if path is not None:
        from ...loading import load_clip

        compute = frozen_compute(config)
        found = load_clip(path, compute=replace(compute, dtype=clip_dtype) if clip_dtype else compute)[0]
        if found is None:
            raise ConfigError(f"{path} has no text tower; give a CLIP file or folder that has one")
    elif source is not None and source.text_encoder is not None:
        found = source.text_encoder
    else:
        return None
    if found.config != wanted:
        raise ConfigError(f"the text tower is {found.config}, but the model expects {wanted}")
    return found
