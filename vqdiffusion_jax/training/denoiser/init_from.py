"""Where a run begins: frozen networks from files, parameters from a checkpoint that need not fit in every row."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ...config import ComputeConfig
from ...embedded import folder_of
from ...errors import ConfigError
from ...models.clip import CLIPTextEncoder
from ...models.shapes import Keys
from ...models.vqdiffusion import VQDiffusionModel
from ...models.vqgan import VQGAN
from ...paths import path_of
from ...text.tokenizer import Tokenizer
from .config import TrainConfig
from .state import Trained, fresh_networks


@dataclass(frozen=True)
class Parts:
    """What training needs besides the denoiser's own state.

    codec: None if tokens are cached and no file was given; then no pictures are drawn.
    text_encoder, tokenizer: text models only; the tower is None where it is trained.  trained: parameters to start from, or None.
    report: what was taken from where, for people.
    """

    codec: VQGAN | None = None
    text_encoder: CLIPTextEncoder | None = None
    tokenizer: Tokenizer | None = None
    trained: Trained | None = None
    report: tuple[str, ...] = ()


def frozen_compute(config: TrainConfig) -> ComputeConfig:
    """How codec and text tower run inside the step."""
    return ComputeConfig(dtype=config.frozen_dtype, attention=config.compute.attention)


def gather_parts(
    config: TrainConfig,
    /,
    *,
    init_from: str | Path | None = None,
    codec: str | Path | None = None,
    clip: str | Path | None = None,
    needs_codec: bool = True,
    **companions: Any,
) -> Parts:
    """Networks from ``init_from`` (anything ``loading.load_model`` reads), or from files of their own, which take precedence.

    codec, clip: anything ``loading.load_codec`` and ``loading.load_clip`` read.
    companions: config, codec_config, mapping, weights, clip_weights and clip_dtype, as for ``loading.load_model``; of those that
    complete a file, the codec's also go with ``codec``, and ``clip_dtype`` with a text tower of ``clip`` or ``init_from``.
    Raises ConfigError, one line, for what is missing, does not fit, or is given and read by nothing.
    """
    model, report = config.model, []
    trains_text = config.train_text_encoder
    needs_text = model.text_encoder is not None and not trains_text
    from_file = init_from is not None and not folder_of(init_from).is_dir()
    _check_used(companions, from_file=from_file, init_from=init_from, codec=codec, clip=clip, needs_text=needs_text)
    clip_dtype = companions.pop("clip_dtype", None)
    source = tokenizer = None
    if init_from is not None:
        from ...loading import load_model

        reading = dict(companions) if from_file else {}
        if clip is None:
            reading["clip_dtype"] = clip_dtype
        source, tokenizer = load_model(init_from, compute=frozen_compute(config), **reading)
        report.append(f"starting from {init_from}")
    towers = {
        "codec": _codec(config, source, codec, companions),
        "text_encoder": _text_encoder(config, source, clip, clip_dtype)
        if needs_text or trains_text and (source or clip)
        else None,
    }
    untrained = None
    for name, flag, needed in (("codec", "codec", needs_codec), ("text_encoder", "clip", needs_text)):
        if towers[name] is None and needed:
            if not config.untrained_towers:
                raise ConfigError(
                    f"no {name} is given; pass --init_from=MODEL or --{flag}=FILE (or untrained_towers=True to try things out)"
                )
            untrained = (
                untrained or jax.jit(lambda: VQDiffusionModel(model, frozen_compute(config), rngs=Keys(config.seed)))()
            )
            towers[name] = getattr(untrained, name)
            report.append(f"{name}: random weights, as untrained_towers=True allows")
    given_tower = towers.pop("text_encoder")
    trained = None
    if source is not None or trains_text and given_tower is not None:
        fresh = jax.tree.map(np.asarray, jax.jit(lambda: fresh_networks(config))())
        denoiser, tower = fresh.denoiser, fresh.text_encoder
        if source is not None:
            denoiser, lines = adopt(denoiser, source.denoiser)
            report += lines
        if tower is not None and given_tower is not None:
            tower, lines = adopt(tower, given_tower)
            report += lines
        trained = Trained(denoiser, tower)
    if tokenizer is None and model.tokenizer is not None:
        tokenizer = Tokenizer(model.tokenizer)
    frozen_tower = None if trains_text else given_tower
    return Parts(**towers, text_encoder=frozen_tower, tokenizer=tokenizer, trained=trained, report=tuple(report))


def adopt(fresh: Any, given: Any) -> tuple[Any, list[str]]:
    """``fresh``, a denoiser or text tower, with every parameter that ``given`` has, and a line for each that it lacks.

    A checkpoint may lack the null embedding, which then stays as initialised,
    and rows at the end of a class table: these become the mean row, which is
    what the network takes for "no class" until then.  Where the number of
    timesteps differs, a timestep takes the row that was as far along the schedule.
    Raises ConfigError naming every parameter that fits neither way.
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
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise ConfigError(f"the checkpoint to start from does not fit the model: {'; '.join(problems[:3])}{more}")
    return jax.tree.unflatten(structure, leaves), report


# Companion: its flag, and what it completes.
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

        reading = {} if Path(path).is_dir() else {"image_size": wanted.image_size}
        reading |= {"config": companions.get("codec_config"), "mapping": companions.get("mapping")}
        found = load_codec(path, **reading, compute=frozen_compute(config))
    elif source is not None:
        found = source.codec
    else:
        return None
    if found.config.num_codes != wanted.num_codes or found.config.grid != wanted.grid:
        raise ConfigError(
            f"the codec has K = {found.config.num_codes} codes on a grid of {found.config.grid}, "
            f"but the model expects {wanted.num_codes} on {wanted.grid}"
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
