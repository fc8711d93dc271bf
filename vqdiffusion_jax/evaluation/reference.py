"""The other side of a comparison: which pictures of a data set are the reference, and what the samples are to show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..config import ModelConfig
from ..data.captions import usable_captions
from ..data.config import DataConfig
from ..data.examples import captions_of, cut, read_record
from ..data.records import Source
from ..data.sources import open_source
from ..data.transforms import decode
from ..errors import BrokenRecord, EvaluationError
from .networks import of_one_size
from .protocol import Protocol

_PICTURES, _SUBJECTS = 0, 1  # streams of a protocol's seed


def open_reference(protocol: Protocol, root: str) -> Source:
    """The reference split of a protocol's data set at ``root``.  Raises DataError or FileNotFoundError, one line."""
    config = DataConfig(
        source=protocol.source,
        root=str(root),
        options=dict(protocol.source_options),
        validation_fraction=protocol.validation_fraction,
    )
    return open_source(config, protocol.reference_split)


def reference_indices(source: Source, protocol: Protocol) -> np.ndarray:
    """Which records are the reference pictures, in ascending order of the record unless they are oversampled.

    A picture that several captions share (``source.picture``) counts once.
    """
    pictures = np.arange(len(source))
    if hasattr(source, "picture"):
        first = {}
        for index in range(len(source)):
            first.setdefault(source.picture(index), index)
        pictures = np.fromiter(first.values(), np.int64)
    wanted = protocol.num_reference or len(pictures)
    if wanted <= len(pictures):
        chosen = np.random.default_rng((protocol.seed, _PICTURES)).choice(len(pictures), wanted, replace=False)
        return pictures[np.sort(chosen)]
    return pictures[np.arange(wanted) % len(pictures)]


def reference_pictures(source: Source, indices: Sequence[int], size: int | None) -> np.ndarray:
    """Records ``indices`` as (n, height, width, 3) uint8: central crops of ``size``, or as they are if it is None.

    Raises EvaluationError, one line, naming a picture that cannot be read or that is of another size.
    """
    pictures, names = [], []
    for index in indices:
        try:
            record = read_record(source, int(index))
            picture = np.asarray(decode(record["image"])) if size is None else cut(record, size, None)
        except BrokenRecord as error:
            raise EvaluationError(f"a reference picture cannot be used: {error}") from error
        except Exception as error:  # Pillow's parsers raise whatever they trip over
            raise EvaluationError(
                f"a reference picture cannot be read: {record['id']}: {error or type(error).__name__}"
            ) from error
        pictures.append(picture)
        names.append(record["id"])
    return of_one_size(pictures, names)


def subjects(
    protocol: Protocol, config: ModelConfig, source: Source | None, prompts: Sequence[str] | None = None
) -> list[Mapping[str, Any]]:
    """What each of ``protocol.num_samples`` samples shows: {"prompt": ...}, {"class_label": ...} or {}; of composed scenes also "scene".

    prompts: texts to use, in turn, instead of the data set's captions.
    Raises EvaluationError if a text model has nothing to draw from.
    """
    count = protocol.num_samples
    if config.denoiser.condition == "none":
        return [{}] * count
    if config.denoiser.condition == "class":
        return [{"class_label": i % config.denoiser.null_label} for i in range(count)]
    if prompts is not None:
        texts = usable_captions(prompts)
        return [{"prompt": texts[i % len(texts)]} for i in range(count)]
    if source is None:
        raise EvaluationError(
            f"the protocol {protocol.name} draws captions from {protocol.source}; give --data_root, or --prompts_file"
        )
    order = np.arange(len(source))
    if protocol.order == "shuffled":
        order = np.random.default_rng((protocol.seed, _SUBJECTS)).permutation(len(source))
    chosen = [int(order[i % len(source)]) for i in range(count)]
    return [
        {"prompt": _caption(source, index, i, protocol)} | scene_of(source, index) for i, index in enumerate(chosen)
    ]


def scene_of(source: Source, index: int) -> Mapping[str, Any]:
    """What record ``index`` of composed scenes is composed of, as {"scene": ...}; {} for other data sets."""
    return {"scene": source.scene(index)} if hasattr(source, "scene") else {}


def _caption(source: Source, index: int, sample: int, protocol: Protocol) -> str:
    try:
        captions = captions_of(read_record(source, index))
    except BrokenRecord as error:
        raise EvaluationError(f"a caption cannot be used: {error}") from error
    if protocol.caption == "first":
        return captions[0]
    return captions[int(np.random.default_rng((protocol.seed, _SUBJECTS, sample)).integers(len(captions)))]
