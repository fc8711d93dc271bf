"""Weights in the reference's training checkpoints.

A checkpoint is ``{"model": ..., "ema": ..., "optimizer_and_scheduler": ..., ...}``.  ``ema`` holds everything of
``model`` under ``transformer.``, without that prefix; the reference samples with it.  The optimizer's state is never
read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import CheckpointError, ConfigError, and_more
from ..files.torch_zip import open_checkpoint, state_dict
from .denoiser import PREFIX, TEXT_PREFIX, denoiser_ignores

WEIGHTS = ("ema", "model")
_CLIP_TOLERANCE = 1.0e-3


def read_weights(
    path: str | Path, *, tree: Any = None, weights: str = "ema", clip_weights: str | None = None
) -> tuple[dict[str, Any], list[str], Callable[[], list[str]]]:
    """Return the tensors of a training checkpoint under the names of its ``model``, and remarks on them.

    No tensor's numbers are read.  Further remarks need them: the last value returns these, and reads.

    Args:
        path: a .pth file of the reference.
        tree: the content of the file, if it is open already.
        weights: "ema" (the reference samples with it) or "model", for everything under ``transformer.``.
        clip_weights: the same for the text tower alone; None follows ``weights``.  Averaging float16 weights on old
            CPUs may have moved the averaged copy.

    Raises:
        CheckpointError: if the file cannot be read, is no such checkpoint, or lacks an averaged copy of any weight.
        ConfigError: if ``weights`` or ``clip_weights`` is neither.
    """
    clip_weights = clip_weights or weights
    for name, value in (("weights", weights), ("clip_weights", clip_weights)):
        if value not in WEIGHTS:
            raise ConfigError(f"{name} is {value!r}; allowed: {', '.join(WEIGHTS)}")
    tree = open_checkpoint(path) if tree is None else tree
    other = "loading.load_codec reads a codec alone"
    held = tree if isinstance(tree, Mapping) else {}
    # Lightning's name for it is state_dict.
    whole = next((held[name] for name in ("model", "state_dict") if isinstance(held.get(name), Mapping)), None)
    if whole is None:
        alone = "; its 'ema' alone lacks the codec" if isinstance(held.get("ema"), Mapping) else f"; {other}"
        raise CheckpointError(f"{path} is no VQ-Diffusion training checkpoint: it has no 'model'{alone}")
    model = state_dict(whole)
    if not any(name.startswith(PREFIX) for name in model):
        raise CheckpointError(f"{path} has no denoiser (no key begins with {PREFIX}); {other}")
    if "ema" not in (weights, clip_weights):
        return model, [], list
    if not isinstance(tree.get("ema"), Mapping):
        raise CheckpointError(f"{path} holds no averaged weights; give weights='model' (--weights=model)")
    averaged = {PREFIX + name: tensor for name, tensor in state_dict(tree["ema"]).items()}
    notes: list[str] = []
    buffers = _buffers(model)
    trained = [name for name in model if name.startswith(PREFIX) and name not in buffers]
    in_clip = {name: name.startswith(TEXT_PREFIX) for name in (*trained, *averaged)}
    for option, choice, clip in (("weights", weights, False), ("clip_weights", clip_weights, True)):
        if choice == "ema":
            _check_averaged(path, option, [name for name in trained if in_clip[name] == clip], averaged)
    chosen = {
        **model,
        **{name: tensor for name, tensor in averaged.items() if (clip_weights if in_clip[name] else weights) == "ema"},
    }
    if weights == "ema" and (absent := [name for name in buffers if name not in averaged]):
        notes.append(f"{len(absent)} buffers have no averaged copy and are taken from 'model': {', '.join(absent[:4])}")
    return chosen, notes, partial(_compare_clip, model, averaged)


def training_state(path: str | Path) -> tuple[int, bool]:
    """Return (epochs trained, 0 if the file does not say; True if it holds averaged weights) of a training checkpoint.

    Raises CheckpointError if the file cannot be read.
    """
    tree = open_checkpoint(path)
    if not isinstance(tree, Mapping):
        return 0, False
    epochs = [tree[name] for name in ("last_epoch", "epoch") if isinstance(tree.get(name), int)]
    return (epochs or [0])[0], isinstance(tree.get("ema"), Mapping)


def _buffers(model: Mapping[str, Any]) -> list[str]:
    """Return the tensors under ``transformer.`` that are no weights."""
    text = any(name.startswith(TEXT_PREFIX) for name in model)
    ignores = denoiser_ignores("text" if text else "none")
    return [name for name in model if any(ignore.regex.fullmatch(name) for ignore in ignores)]


def _check_averaged(path: str | Path, option: str, names: list[str], averaged: Mapping[str, Any]) -> None:
    """Raise CheckpointError if averaged weights are wanted and some are absent: half of each is no model."""
    absent = [name for name in names if name not in averaged]
    if absent:
        told = and_more(absent[:4], len(absent))
        raise CheckpointError(
            f"{path}: {len(absent)} of {len(names)} weights have no averaged copy ({told}); "
            f"give {option}='model' (--{option}=model)"
        )


def _compare_clip(model: Mapping[str, Any], averaged: Mapping[str, Any]) -> list[str]:
    """Return a remark if the averaged copy of CLIP, which is frozen, has moved: averaging in float16 may do that."""
    moved = 0.0
    for name, tensor in averaged.items():
        if name.startswith(f"{TEXT_PREFIX}transformer.") and name.endswith("weight") and name in model:
            before, after = (np.asarray(t, np.float32) for t in (model[name], tensor))
            if before.shape == after.shape:
                moved = max(moved, float(np.abs(after - before).max() / max(float(np.abs(before).max()), 1e-30)))
    if moved < _CLIP_TOLERANCE:
        return []
    return [
        f"CLIP is frozen, yet its averaged copy differs by up to {moved:.2g} of a tensor's largest value; "
        "clip_weights='model' takes the original"
    ]
