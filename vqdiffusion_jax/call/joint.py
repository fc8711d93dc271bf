"""Calls of one picture each, drawn as one call."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from os import fspath
from typing import Any

import jax.numpy as jnp

from ..errors import SettingError
from ..sampling.noise import KeyNoise
from ..sampling.seeds import noise_of, occurrences
from ..sampling.settings import PICTURES, SamplingSettings

OWN = ("prompt", "class_labels", "negative_prompt")  # settings that may differ between pictures of a batch


def single_pictures(settings: SamplingSettings) -> Iterator[SamplingSettings]:
    """Yield the settings from which each picture of a call is drawn alone, in order.

    Raises SettingError for another number of seeds than of pictures, or of negative prompts than of prompts.
    """
    subject = "class_labels" if settings.prompt is None else "prompt"
    subjects: Sequence[Any] = getattr(settings, subject) or (None,)
    negatives: Sequence[Any] = settings.negative_prompt or (None,)
    if len(negatives) not in (1, len(subjects)):
        told = "{negative_prompt} has {value} entries for {prompts} prompts; give one, or one a prompt"
        raise SettingError(told, value=len(negatives), prompts=len(subjects))
    each, count = settings.num_images_per_prompt, len(subjects) * settings.num_images_per_prompt
    seeds = settings.seed
    if isinstance(seeds, tuple) and len(seeds) != count:
        told = "{seed} holds {value} seeds for {count} pictures; give one number, or one a picture"
        raise SettingError(told, value=len(seeds), count=count)
    numbers = occurrences(subjects[k // each] for k in range(count))
    for k, number in enumerate(numbers):
        own = {subject: subjects[k // each], "negative_prompt": negatives[k // each % len(negatives)]}
        seed = seeds[k] if isinstance(seeds, tuple) else seeds
        first = settings.first_image + (0 if isinstance(seeds, tuple) else number)
        fields = {name: value for name, value in own.items() if value is not None}
        yield settings.changed(**fields, num_images_per_prompt=1, first_image=first, seed=seed)


def shared_by(settings: SamplingSettings) -> str:
    """Return a text that is equal for pictures that can be drawn together.

    These differ in nothing but prompts, classes, seeds, numbers, and pictures to start from.
    """
    own = (*OWN, "seed", "first_image", *(() if settings.outpaint else PICTURES))
    table = {name: None if name in own else value for name, value in settings.flat().items()}
    return json.dumps(table, sort_keys=True, default=fspath)


def joint(pictures: Sequence[SamplingSettings]) -> SamplingSettings:
    """Return the settings of one call that draws pictures of equal ``shared_by``, each from settings of its own."""
    first = pictures[0]
    fields: dict[str, Any] = {}
    for name in OWN:
        if getattr(first, name) is not None:
            fields[name] = tuple(getattr(one, name)[0] for one in pictures)
    if first.outpaint is None:
        for name in PICTURES:
            given = [getattr(one, name) for one in pictures]
            fields[name] = given[0] if all(_is_same(one, given[0]) for one in given) else given
    if first.prompt is None and first.class_labels is None:
        fields["num_images_per_prompt"] = len(pictures)
    keys = [noise_of(one.seed or 0, [None], one.first_image).keys for one in pictures]
    return first.changed(**fields, noise=KeyNoise(jnp.concatenate(keys)))


def _is_same(one: Any, other: Any) -> bool:
    return one is other or isinstance(one, str) and one == other
