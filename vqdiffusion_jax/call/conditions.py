"""Conditions from prompts, class labels and text states, and the null condition of guidance."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from ..config import DenoiserConfig, ModelConfig
from ..errors import SettingError
from ..generation import Condition
from ..sampling import Guidance
from ..sampling.settings import SamplingSettings
from ..text.tokenizer import Tokenizer

KINDS = {"text": "conditioned on text", "class": "conditioned on class labels", "none": "unconditional"}
TAKES = {"text": ("prompt", "prompt_embeds"), "class": ("class_labels",), "none": ()}


def subjects_of(config: ModelConfig, settings: SamplingSettings) -> list[Hashable]:
    """Return the subject of every picture: its prompt, its label, the bytes of its text states, or None.

    Raises SettingError for conditions that the model does not take.
    """
    kind, repeats = config.denoiser.condition, settings.num_images_per_prompt
    takes = TAKES[kind]
    told_takes = " or ".join(f"{{{name}}}" for name in takes)
    given = [name for names in TAKES.values() for name in names if getattr(settings, name) is not None]
    for name in given:
        if name not in takes:
            told = f"{{{name}}} is given, but this model is {KINDS[kind]}; it takes {told_takes or 'no condition'}"
            raise SettingError(told)
    if kind == "none":
        return [None] * repeats
    if len(given) != 1:
        raise SettingError(f"this model is {KINDS[kind]}; give {told_takes}")
    if kind == "class":
        each = _labels(config.denoiser, settings.class_labels).tolist()
    elif settings.prompt_embeds is not None:
        each = [row.tobytes() for row in _embeds(config.denoiser, "prompt_embeds", settings.prompt_embeds)]
    else:
        each = texts_of(settings.prompt)
    return [one for one in each for _ in range(repeats)]


def condition_of(config: ModelConfig, tokenizer: Tokenizer | None, settings: SamplingSettings) -> Condition:
    """Return the condition of every picture, of settings that ``subjects_of`` takes."""
    kind, repeats = config.denoiser.condition, settings.num_images_per_prompt
    if kind == "none":
        return Condition()
    if kind == "class":
        return Condition(labels=np.repeat(_labels(config.denoiser, settings.class_labels), repeats))
    if settings.prompt_embeds is not None:
        embedding = _embeds(config.denoiser, "prompt_embeds", settings.prompt_embeds)
        return Condition(embedding=np.repeat(embedding, repeats, axis=0))
    return Condition(ids=np.repeat(_token_ids(tokenizer, texts_of(settings.prompt)), repeats, axis=0))


def null_condition_of(
    config: ModelConfig, tokenizer: Tokenizer | None, guidance: Guidance, settings: SamplingSettings, count: int
) -> Condition | None:
    """Return the null condition of each of ``count`` pictures, or None if guidance is not active.

    Raises SettingError for a null condition that the model does not have.
    """
    kind, denoiser = config.denoiser.condition, config.denoiser
    negatives = ("negative_prompt", "negative_prompt_embeds")
    negative = next((name for name in negatives if getattr(settings, name) is not None), None)
    if negative and kind != "text":
        raise SettingError(f"{{{negative}}} is given, but this model is {KINDS[kind]}; only text models take one")
    if settings.null == "text" and kind != "text":
        told = f"{{null}} is 'text', but this model is {KINDS[kind]} and reads no text; use 'auto'"
        raise SettingError(told)
    if settings.null == "learnable" and not denoiser.learnable_null:
        raise SettingError("{null} is 'learnable', but this model has no learnable null condition; use 'auto'")
    embeds, texts, share = settings.negative_prompt_embeds, texts_of(settings.negative_prompt or ""), count
    if embeds is not None:
        embeds = _embeds(denoiser, "negative_prompt_embeds", embeds)
    if negative is not None:
        share = _share(negative, len(texts) if embeds is None else len(embeds), count, settings.num_images_per_prompt)
    if not guidance.active:
        return None
    if kind == "none":
        told = "{guidance_scale} is {value}, but this model is unconditional and has nothing to guide by; leave it at 1"
        raise SettingError(told, value=guidance.scale)
    if kind == "class":
        return Condition(labels=np.full(count, denoiser.null_label, np.int32))
    if embeds is not None:
        return Condition(embedding=np.repeat(embeds, share, axis=0))
    learned = settings.null == "learnable" or settings.null == "auto" and denoiser.learnable_null
    if negative is None and learned:
        return Condition()
    return Condition(ids=np.repeat(_token_ids(tokenizer, texts), share, axis=0))


def texts_of(given: str | Sequence[str] | None) -> list[str]:
    """Return one text, several or none as a list."""
    return [] if given is None else [given] if isinstance(given, str) else list(given)


def _token_ids(tokenizer: Tokenizer | None, texts: list[str]) -> np.ndarray:
    if tokenizer is None:
        raise SettingError("{prompt} is given, but there is no tokenizer; give {prompt_embeds}, or a tokenizer")
    return tokenizer(texts)[0]


def _share(name: str, given: int, count: int, repeats: int) -> int:
    """Return the number of pictures that share each of ``given`` null conditions: all, or those of one prompt."""
    if given not in (1, count // repeats):
        told = f"{{{name}}} has {{value}} entries for {{prompts}} prompts; give one, or one a prompt"
        raise SettingError(told, value=given, prompts=count // repeats)
    return count // given


def _labels(denoiser: DenoiserConfig, class_labels: Any) -> np.ndarray:
    labels = np.asarray(class_labels)
    last = denoiser.num_classes - denoiser.learnable_null - 1
    if labels.max() > last:
        told = "{class_labels} is {value}; labels are whole numbers from 0 to {last}"
        raise SettingError(told, value=labels.tolist(), last=last)
    return labels.astype(np.int32)


def _embeds(denoiser: DenoiserConfig, name: str, embeds: Any) -> np.ndarray:
    embeds, shape = np.asarray(embeds, np.float32), (denoiser.condition_length, denoiser.condition_width)
    if embeds.ndim != 3 or not embeds.shape[0] or embeds.shape[1:] != shape:
        told = f"{{{name}}} has shape {{value}}; it must be (prompts, {shape[0]}, {shape[1]})"
        raise SettingError(told, value=embeds.shape)
    return embeds
