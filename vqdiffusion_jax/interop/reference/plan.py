"""The model that a training checkpoint makes, and the key table that fills it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...config import ComputeConfig, ModelConfig
from ...errors import ConfigError, ConversionError
from ...models.codebook_reduction import CodebookReduction
from ...models.shapes import shapes_of
from ...models.vqdiffusion import VQDiffusionModel
from ...presets import PRESETS
from ..clip.openai import keeps_dtype, text_part
from ..codecs.part import IN_CHECKPOINT, in_checkpoint
from ..codecs.reduction import REDUCTION_FILES, reduction_rules, reduction_tensors
from ..engine import Ignore, Part, Report, Rule, apply, key
from ..engine.fields import Fields, merge, with_defaults
from .denoiser import TEXT_PREFIX, denoiser_fields, denoiser_ignores, denoiser_rules
from .model_config import NUM_HEADS, model_config
from .schedule import denominator_of

# Paths of the parts in a VQDiffusionModel.
DENOISER, CODEC, TEXT_ENCODER = "denoiser.", "codec.", "text_encoder."


@dataclass(frozen=True)
class ReferencePlan:
    """A model's configuration, and the tensors and key table that fill it; tensors stay on disk until ``fill``."""

    config: ModelConfig
    tensors: Mapping[str, Any]
    rules: list[Rule]
    ignores: list[Ignore]
    notes: list[str] = field(default_factory=list)
    what: str = "the file"
    guesses: tuple[str, ...] = ()  # of the notes those that a user should read before anything is drawn
    remarks: Callable[[], list[str]] = list  # further notes, which need the tensors' numbers

    def fill(
        self,
        *,
        clip_dtype: str = "float32",
        compute: ComputeConfig = ComputeConfig(),
        text_compute: ComputeConfig | None = None,
    ) -> tuple[VQDiffusionModel, Report]:
        """Read the weights.  Arguments, results and errors are those of ``load_reference``."""
        keep = keeps_dtype(clip_dtype, TEXT_ENCODER)
        abstract = shapes_of(VQDiffusionModel, self.config, compute, text_compute=text_compute)
        model, report = apply(self.rules, self.ignores, self.tensors, abstract, keep_dtype=keep, what=self.what)
        report.notes += [*self.remarks(), *self.notes]
        return model, report


def plan(
    tensors: Mapping[str, Any],
    *,
    yaml: Fields | None = None,
    defaults: Fields | None = None,
    where: str = "the yaml",
    codec: Part | None = None,
    clip: Part | None = None,
    reduction: CodebookReduction | None = None,
    what: str = "the file",
    codec_name: str = "",
    reduction_name: str = "the codebook reduction",
) -> ReferencePlan:
    """Plan the model of a training checkpoint.  Works on shapes alone too.

    Args:
        tensors: ``read_weights``'s, or jax.ShapeDtypeStruct under the same names.
        yaml: fields that the yaml files set.
        defaults: fields that they leave open, as the reference's classes have them.
        where: names of the yaml files, for errors.
        codec, clip: parts to take instead of the checkpoint's own.
        reduction: the codes kept, for a model that keeps only some.
        what: the checkpoint's name in errors.
        codec_name, reduction_name: those of the codec and of the reduction given.

    Raises:
        ConfigError, ConversionError: if the parts do not make one model.
    """
    yaml = {section: dict(values) for section, values in (yaml or {}).items()}
    denoiser = denoiser_fields(tensors, yaml.get("denoiser", {}), (defaults or {}).get("denoiser", {}))
    condition = denoiser["condition"]
    rules, ignores = denoiser_rules(DENOISER, condition=condition, mlp=denoiser["mlp"]), denoiser_ignores(condition)
    if codec is None:
        codec = in_checkpoint(tensors, ours=CODEC)
    else:
        ignores.append(Ignore(key(IN_CHECKPOINT) + ".*", "replaced by the codec file given"))
        _check_replacement(codec, codec_name or "the codec given", tensors)
    weights: Fields = {"denoiser": denoiser, "codec": dict(codec.fields)}
    parts = [codec]
    if condition == "text":
        if clip is None:
            clip = text_part(tensors, TEXT_PREFIX, ours=TEXT_ENCODER)
        else:
            ignores.append(Ignore(key(TEXT_PREFIX) + ".*", "replaced by the CLIP file given"))
        weights["text_encoder"] = dict(clip.fields)
        parts.append(clip)
    elif clip is not None:
        raise ConfigError(f"this model has condition={condition!r} and no text tower; leave clip out")
    all_tensors = dict(tensors)
    for part in parts:
        all_tensors |= part.tensors
        rules += part.rules
        ignores += part.ignores
    if reduction is not None:
        all_tensors |= reduction_tensors(reduction)
        rules += reduction_rules(CODEC)
    weights["codec"]["reduced_codebook_size"] = _kept(
        denoiser["num_codes"], codec.fields["codebook_size"], reduction, codec_name, reduction_name
    )
    guesses = _guessed_heads(denoiser, yaml.get("denoiser", {}), (defaults or {}).get("denoiser", {}))
    notes = guesses + _settle_null(denoiser, yaml.get("denoiser", {}))
    fields = merge(weights, yaml, where=where)
    sizes = {name: denoiser[name] for name in ("num_codes", "num_timesteps")}
    fields.setdefault("schedule", {})["denominator"], more = denominator_of(tensors, **sizes)
    notes += [*more, *(note for part in parts for note in part.notes)]
    config = model_config(with_defaults(fields, defaults or {}))
    return ReferencePlan(config, all_tensors, rules, ignores, notes, what, tuple(guesses))


def _check_replacement(codec: Part, name: str, tensors: Mapping[str, Any]) -> None:
    """Raise ConversionError if a codec cannot stand in for the checkpoint's own, as far as that is there."""
    if not any(found.startswith(IN_CHECKPOINT) for found in tensors):
        return
    own = in_checkpoint(tensors, ours=CODEC).fields
    counts = {"codes": "codebook_size", "numbers a code": "embed_dim"}
    for what, field_name in counts.items():
        given, expected = codec.fields.get(field_name), own.get(field_name)
        if given != expected:
            raise ConversionError(
                f"{name} has {given} {what}, the checkpoint's own codec {expected}: it is not a codec of this model;"
                " leave it out (--codec), or give the one that the model was trained with"
            )


def _kept(
    kept: int, codes: int, reduction: CodebookReduction | None, codec_name: str, reduction_name: str
) -> int | None:
    """Return VQGANConfig.reduced_codebook_size.  Raises ConversionError if denoiser, codec and table do not fit.

    codec_name: of a codec in place of the checkpoint's own, which is then named where either may be the wrong one.
    """
    if kept > codes:
        raise ConversionError(
            f"the denoiser knows {kept} codes but {codec_name or 'the codec'} has {codes};"
            " give the codec the denoiser was trained with"
        )
    if codec_name and reduction is not None and len(reduction.full_to_reduced) != codes:
        if len(reduction.reduced_to_full) == kept:
            raise ConversionError(
                f"{codec_name} has {codes} codes, but {reduction_name}, which keeps {kept} as this model does, is for a"
                f" codec of {len(reduction.full_to_reduced)}; give the codec the model was trained with"
            )
    if kept == codes:
        if reduction is not None:
            raise ConversionError(f"this model uses all {codes} codes of its codec; leave the codebook reduction out")
        return None
    if reduction is None:
        known = REDUCTION_FILES.get(kept)
        released = f"{known} (help_folder/statistics in the reference's repository)"
        raise ConversionError(
            f"this model keeps {kept} of its codec's {codes} codes, and a file says which: "
            f"give mapping (--mapping=...): {released if known else 'the file at mapping_path in its yaml'}"
        )
    if (sizes := (len(reduction.reduced_to_full), len(reduction.full_to_reduced))) != (kept, codes):
        raise ConversionError(
            f"the codebook reduction keeps {sizes[0]} of {sizes[1]} codes "
            f"but this model keeps {kept} of {codes}; give the file made for it"
        )
    return kept


def _guessed_heads(weights: Fields | dict[str, Any], *told: Mapping[str, Any]) -> list[str]:
    """Return a remark if nothing tells the number of heads and the weights are those of no released model."""
    if any("num_heads" in fields for fields in told):
        return []
    sizes = ("condition", "num_codes", "width", "num_layers")
    if any(all(weights[name] == getattr(preset.denoiser, name) for name in sizes) for preset in PRESETS.values()):
        return []
    return [
        f"the number of heads is a guess, {NUM_HEADS} as in the released models: weights do not tell it; if yours has"
        " another, give its yaml (--reference_config, config=)"
    ]


def _settle_null(weights: dict[str, Any], yaml: dict[str, Any]) -> list[str]:
    """Let the weights decide, with remarks, where the reference's yaml and its own released weights differ."""
    notes = []
    if weights.get("num_classes") == yaml.get("num_classes", 0) + 1:
        notes.append(
            f"the yaml has {yaml['num_classes']} classes; the weights have one more, the null class of guidance"
        )
        del yaml["num_classes"]
    if weights["condition"] == "text" and weights["learnable_null"] and yaml and "learnable_null" not in yaml:
        notes.append("the yaml does not mention learnable_cf; the weights have a learned null condition, which is used")
    return notes
