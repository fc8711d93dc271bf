"""The reference's training checkpoints: which tensors to take, what model they make, and how they map onto ours.

A checkpoint is ``{"model": ..., "ema": ..., "optimizer_and_scheduler": ..., ...}``.
``ema`` holds everything of ``model`` under ``transformer.``, without that prefix;
inference uses it.  The optimizer's state is never read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ..config import ModelConfig, ScheduleConfig
from ..diffusion.schedule import make_schedule
from ..errors import CheckpointError, ConfigError, ConversionError
from ..models.codebook_reduction import CodebookReduction
from .codecs import FULL_CHECKPOINT, REDUCTION_FILES, CodecSource, in_checkpoint, reduction_rules, reduction_tensors
from .denoiser_rules import PREFIX, TEXT_PREFIX, denoiser_ignores, denoiser_rules, denoiser_sizes
from .facts import Facts, merge, model_config
from .openai_clip import TextSource
from .table import Ignore, Rule, key
from .torch_zip import open_checkpoint, state_dict

WEIGHTS = ("ema", "model")
_SCHEDULE_TOLERANCE = 1.0e-4  # in log; the two denominators differ by 2.4e-4 or more
_CLIP_TOLERANCE = 1.0e-3


@dataclass(frozen=True)
class ReferencePlan:
    """What model a checkpoint makes, and all that ``table.apply`` needs to fill a VQDiffusionModel."""

    config: ModelConfig
    tensors: Mapping[str, Any]
    rules: list[Rule]
    ignores: list[Ignore]
    notes: list[str] = field(default_factory=list)


def read_weights(
    path: str | Path, *, weights: str = "ema", clip_weights: str | None = None
) -> tuple[dict[str, Any], list[str]]:
    """The tensors of a training checkpoint under the names of its ``model``, and remarks on them.

    Args:
        path: a .pth file of the reference.
        weights: "ema" (what the reference samples with) or "model" for everything under ``transformer.``.
        clip_weights: the same for the text tower alone; None follows ``weights``.  Averaging float16 weights on old CPUs
            may have moved the averaged copy.

    Raises:
        CheckpointError: if the file cannot be read, is not such a checkpoint, or lacks an averaged copy of any weight.
        ConfigError: if ``weights`` is neither.
    """
    clip_weights = clip_weights or weights
    for name, value in (("weights", weights), ("clip_weights", clip_weights)):
        if value not in WEIGHTS:
            raise ConfigError(f"{name} is {value!r}; allowed: {', '.join(WEIGHTS)}")
    tree = open_checkpoint(path)
    if not (isinstance(tree, Mapping) and isinstance(tree.get("model"), Mapping)):
        raise CheckpointError(
            f"{path} is no VQ-Diffusion training checkpoint: it has no 'model'; loading.load_codec reads a codec alone"
        )
    model = state_dict(tree["model"])
    if not any(name.startswith(PREFIX) for name in model):
        raise CheckpointError(
            f"{path} has no denoiser (no key begins with {PREFIX}); loading.load_codec reads a codec alone"
        )
    if "ema" not in (weights, clip_weights):
        return model, []
    if not isinstance(tree.get("ema"), Mapping):
        raise CheckpointError(f"{path} holds no averaged weights; give weights='model' (--weights=model)")
    averaged = {PREFIX + name: tensor for name, tensor in state_dict(tree["ema"]).items()}
    notes = _compare_clip(model, averaged)
    buffers = _buffers(model)
    _check_averaged(
        path, [name for name in model if name not in buffers], averaged, weights=weights, clip_weights=clip_weights
    )
    chosen = dict(model)
    for name, tensor in averaged.items():
        if (clip_weights if name.startswith(TEXT_PREFIX) else weights) == "ema":
            chosen[name] = tensor
    if weights == "ema" and (absent := [name for name in buffers if name not in averaged]):
        notes.append(f"{len(absent)} buffers have no averaged copy and are taken from 'model': {', '.join(absent[:4])}")
    return chosen, notes


def _buffers(model: Mapping[str, Any]) -> list[str]:
    """The tensors under ``transformer.`` that are no weights of it."""
    text = any(name.startswith(TEXT_PREFIX) for name in model)
    ignores = denoiser_ignores("text" if text else "none")
    return [name for name in model if any(ignore.regex.fullmatch(name) for ignore in ignores)]


def _check_averaged(path: str | Path, names: list[str], averaged: Mapping[str, Any], **chosen: str) -> None:
    """Raise CheckpointError, one line, if averaged weights are wanted of which some are absent: half of each is no model."""
    in_clip = {"weights": False, "clip_weights": True}
    for option, choice in chosen.items():
        wanted = [name for name in names if name.startswith(PREFIX) and name.startswith(TEXT_PREFIX) == in_clip[option]]
        absent = [name for name in wanted if name not in averaged]
        if choice == "ema" and absent:
            more = f" and {len(absent) - 4} more" if len(absent) > 4 else ""
            raise CheckpointError(
                f"{path}: {len(absent)} of {len(wanted)} weights have no averaged copy ({', '.join(absent[:4])}{more}); "
                f"give {option}='model' (--{option}=model)"
            )


def training_state(path: str | Path) -> tuple[int, bool]:
    """(epochs trained, or 0 if the file does not say; whether it holds averaged weights) of a training checkpoint.

    Raises:
        CheckpointError: if the file cannot be read.
    """
    tree = open_checkpoint(path)
    if not isinstance(tree, Mapping):
        return 0, False
    epochs = [tree[name] for name in ("last_epoch", "epoch") if isinstance(tree.get(name), int)]
    return (epochs or [0])[0], isinstance(tree.get("ema"), Mapping)


def plan(
    tensors: Mapping[str, Any],
    *,
    yaml: Facts | None = None,
    where: str = "the yaml",
    codec: CodecSource | None = None,
    clip: TextSource | None = None,
    reduction: CodebookReduction | None = None,
) -> ReferencePlan:
    """What model the tensors make, and the key table for it.  Runs on shapes alone too.

    Args:
        tensors: ``read_weights``'s, or jax.ShapeDtypeStruct under the same names.
        yaml: facts of the yaml files, whose name ``where`` is for errors.
        codec, clip: other sources for those parts than the checkpoint itself.
        reduction: the codes kept, for a model that keeps only some.

    Raises:
        ConfigError, ConversionError: one line, where the parts do not make one model.
    """
    yaml = {section: dict(fields) for section, fields in (yaml or {}).items()}
    sizes, notes = denoiser_sizes(tensors), []
    condition = sizes["condition"]
    ignores = denoiser_ignores(condition)
    shapes: Facts = {"denoiser": sizes}
    if codec is None:
        codec = in_checkpoint(tensors)
    else:
        ignores.append(Ignore(key(FULL_CHECKPOINT) + ".*", "replaced by the codec file given"))
    shapes["codec"] = codec.sizes()
    rules = [*denoiser_rules("denoiser.", condition=condition, mlp=sizes["mlp"]), *codec.rules("codec.")]
    if condition == "text":
        if clip is None:
            clip = TextSource(tensors, TEXT_PREFIX)
        else:
            ignores.append(Ignore(key(TEXT_PREFIX) + ".*", "replaced by the CLIP file given"))
        shapes["text_encoder"] = clip.sizes()
        rules += clip.rules("text_encoder.")
        ignores += clip.ignores
    elif clip is not None:
        raise ConfigError(f"this model has condition={condition!r} and no text tower; leave clip out")
    ignores += codec.ignores
    all_tensors = {**tensors, **codec.tensors, **(clip.tensors if clip else {})}
    _reduce(shapes, reduction)
    if reduction is not None:
        all_tensors |= reduction_tensors(reduction)
        rules += reduction_rules("codec.")
    _settle(shapes, yaml, notes)
    facts = merge(shapes, yaml, where=where)
    denominator = _denominator(tensors, sizes, notes)
    facts.setdefault("schedule", {})["denominator"] = denominator
    return ReferencePlan(model_config(facts), all_tensors, rules, ignores, notes)


def _reduce(shapes: Facts, reduction: CodebookReduction | None) -> None:
    kept, codes = shapes["denoiser"]["num_codes"], shapes["codec"]["codebook_size"]
    if kept > codes:
        raise ConversionError(
            f"the denoiser knows {kept} codes but the codec has {codes}; give the codec the denoiser was trained with"
        )
    if kept == codes:
        if reduction is not None:
            raise ConversionError(f"this model uses all {codes} codes of its codec; leave the codebook reduction out")
    elif reduction is None:
        known = REDUCTION_FILES.get(kept)
        name = (
            f"{known} (help_folder/statistics in the reference's repository)"
            if known
            else "the reference's mapping_path"
        )
        raise ConversionError(
            f"this model keeps {kept} of its codec's {codes} codes, and a file says which: give mapping (--mapping=...): {name}"
        )
    elif (len(reduction.full_to_reduced), len(reduction.reduced_to_full)) != (codes, kept):
        raise ConversionError(
            f"the codebook reduction keeps {len(reduction.reduced_to_full)} of {len(reduction.full_to_reduced)} codes "
            f"but this model keeps {kept} of {codes}; give the file made for it"
        )
    shapes["codec"]["reduced_codebook_size"] = kept if kept < codes else None


def _settle(shapes: Facts, yaml: Facts, notes: list[str]) -> None:
    """The two places where the reference's yaml and its own released weights differ; the weights are right."""
    ours, theirs = shapes["denoiser"], yaml.get("denoiser", {})
    if ours.get("num_classes") == theirs.get("num_classes", 0) + 1:
        notes.append(
            f"the yaml has {theirs['num_classes']} classes; the weights have one more, the null class of guidance"
        )
        del theirs["num_classes"]
    if ours["condition"] == "text" and ours["learnable_null"] and theirs and "learnable_null" not in theirs:
        notes.append("the yaml does not mention learnable_cf; the weights have a learned null condition, which is used")


def _denominator(tensors: Mapping[str, Any], sizes: Mapping[str, Any], notes: list[str]) -> str:
    """Which schedule the stored buffers hold: files from before spring 2022 may divide by K + 1 instead of K."""
    name = f"{PREFIX}log_cumprod_bt"
    if name not in tensors or isinstance(tensors[name], jax.ShapeDtypeStruct):
        return "num_codes"
    found = {
        buffer: np.asarray(tensors[f"{PREFIX}log_{buffer}"], np.float64) for buffer in ("at", "bt", "ct", "cumprod_bt")
    }
    worst = {}
    for denominator in ("num_codes", "num_codes_plus_one"):
        schedule = make_schedule(
            ScheduleConfig(num_codes=sizes["num_codes"], num_timesteps=sizes["num_timesteps"], denominator=denominator)
        )
        steps = sizes["num_timesteps"]
        ours = {
            "at": schedule.keep,
            "bt": schedule.uniform,
            "ct": schedule.mask,
            "cumprod_bt": schedule.cum_uniform[:steps],
        }
        if any(len(found[buffer]) < steps for buffer in ours):
            raise ConversionError(f"the noise schedule in the file has {len(found['at'])} steps; {steps} are expected")
        worst[denominator] = max(float(np.abs(found[b][:steps] - np.log(ours[b])).max()) for b in ours)
    best = min(worst, key=worst.get)
    if not worst[best] < _SCHEDULE_TOLERANCE:
        raise ConversionError(
            f"the file's noise schedule is not the released one (alpha1): its logarithms differ by {worst[best]:.2g}; "
            "such models are not supported"
        )
    notes.append(
        f"noise schedule: divides by {'K + 1' if best == 'num_codes_plus_one' else 'K'} (differs by {worst[best]:.1g} in log)"
    )
    return best


def _compare_clip(model: Mapping[str, Any], averaged: Mapping[str, Any]) -> list[str]:
    """CLIP is frozen, so its averaged copy should equal it; half-precision averaging may have moved it."""
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
