"""Records that are known to have no caption before any is read."""

from __future__ import annotations

import numpy as np
from absl import logging

from ..config import ModelConfig, VQGANConfig
from ..errors import DataError, printable
from .account import account_of
from .config import DataConfig
from .records import DividedSource, Selection, Source


def with_captions(source: Source, config: DataConfig, model: ModelConfig | VQGANConfig) -> Source:
    """Return the source without the records that are known to have no caption, if ``config`` drops these.

    A source tells by ``lacks_caption(index)``; one that would have to read a file for it says False, and the record is
    replaced by the next one when it is read.  Raises DataError for captions that may not be missing.
    """
    lacks = getattr(source, "lacks_caption", None)
    if lacks is None or isinstance(model, VQGANConfig) or model.denoiser.condition != "text":
        return source
    missing = np.fromiter(map(lacks, range(len(source))), bool, len(source))
    if not missing.any():
        return source
    account = account_of(source)
    where = np.flatnonzero(missing).tolist()
    names = [_name(source, index) for index in where]
    told = f"{len(names)} of {len(source)} examples have no caption, {printable(', '.join(names[:3]))} among them"
    if config.missing_captions == "error":
        raise DataError(f"{told}; give them captions, or set data.missing_captions to 'drop' or 'unconditional'")
    if missing.all() and config.missing_captions == "drop":
        raise DataError(f"{told}; check the names of the captions' file and column")
    logging.warning("%s (data.missing_captions=%s)", told, config.missing_captions)
    if config.missing_captions == "unconditional":
        account.note(f"{told}; they are shown without a condition")
        return source
    for name in names:
        account.left_out("without a caption", name)
    return Selection(source, np.flatnonzero(~missing))


def _name(source: Source, index: int) -> str:
    """Return the name of an example: its group's or its picture's, if the source tells one without reading it."""
    if isinstance(source, DividedSource):
        return source.group(index)
    picture = getattr(source, "picture", None)
    return f"example {index}" if picture is None else f"{picture(index)}#{index}"
