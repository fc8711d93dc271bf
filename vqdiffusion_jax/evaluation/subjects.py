"""The subjects that the samples of a protocol are to show."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..config import ModelConfig
from ..data.captions import usable_captions
from ..data.examples import captions_of, read_record
from ..data.records import Source
from ..errors import BrokenRecord, EvaluationError, EvaluationSettingError
from .extractors import Subject
from .protocol import Protocol

_STREAM = 1  # of a protocol's seed; ``reference_set`` has another


def subjects(
    protocol: Protocol, config: ModelConfig, source: Source | None, prompts: Sequence[str] | None = None
) -> list[Subject]:
    """Return the subject of each of ``protocol.num_samples`` samples of a model with ``config``.

    prompts: texts to use, in turn, instead of the data set's captions.
    Raises EvaluationSettingError if a text model has nothing to draw from.
    """
    count = protocol.num_samples
    if config.denoiser.condition == "none":
        return [Subject() for _ in range(count)]
    if config.denoiser.condition == "class":
        return [Subject(class_label=i % config.denoiser.null_label) for i in range(count)]
    if prompts is not None:
        texts = usable_captions(list(prompts))
        if not texts:
            raise EvaluationError("every prompt is blank; give at least one with words")
        return [Subject(prompt=texts[i % len(texts)]) for i in range(count)]
    if source is None:
        raise EvaluationSettingError(
            "the protocol {name} draws captions from {source}; give {data}, or {prompts}",
            name=protocol.name,
            source=protocol.source,
        )
    order = np.arange(len(source))
    if protocol.order == "shuffled":
        order = np.random.default_rng((protocol.seed, _STREAM)).permutation(len(source))
    chosen = [int(order[i % len(source)]) for i in range(count)]
    return [
        Subject(prompt=_caption(source, index, i, protocol)) | scene_of(source, index) for i, index in enumerate(chosen)
    ]


def scene_of(source: Source, index: int) -> Subject:
    """Return the ``scene`` of record ``index`` of composed scenes; nothing for other data sets."""
    scene = getattr(source, "scene", None)
    return Subject() if scene is None else Subject(scene=scene(index))


def _caption(source: Source, index: int, sample: int, protocol: Protocol) -> str:
    try:
        captions = captions_of(read_record(source, index))
    except BrokenRecord as error:
        raise EvaluationError(f"a caption cannot be used: {error}") from error
    if protocol.caption == "first":
        return captions[0]
    return captions[int(np.random.default_rng((protocol.seed, _STREAM, sample)).integers(len(captions)))]
