"""The arrays of one example, from a data set or from a token cache."""

from __future__ import annotations

import functools

import numpy as np
from PIL import Image

from ..config import ModelConfig, TokenizerConfig, VQGANConfig
from ..errors import BrokenRecord, ConfigError, DataError, MissingCaption, PictureError, one_line
from ..pictures import WHITE, Colour
from ..text.tokenizer import Tokenizer
from .captions import choose, choose_label, usable_captions
from .records import Example, Record, Source
from .token_cache import CachedRecord, TokenCache
from .transforms import centre_crop, decode, train_crop


def read_record(source: Source, index: int) -> Record:
    """Return ``source[index]``.  Any exception of the source becomes a BrokenRecord that names the index."""
    try:
        return source[index]
    except (BrokenRecord, MemoryError):
        raise
    except Exception as error:  # libraries that read files raise classes of their own
        kind = "" if isinstance(error, OSError | ValueError) else f"{type(error).__name__}: "
        raise BrokenRecord(f"example {index}", f"{kind}{one_line(error)}") from error


def decoded(record: Record, background: Colour = WHITE) -> Image.Image:
    """Return the record's picture, upright and in RGB on ``background``.  Raises BrokenRecord if it cannot be read."""
    try:
        return decode(record["image"], background)
    except PictureError as error:
        raise BrokenRecord(record["id"], f"its image cannot be read: {error}") from error


def cut(record: Record, size: int, rng: np.random.Generator | None, background: Colour = WHITE) -> np.ndarray:
    """Return a crop of the record's picture, (size, size, 3) uint8: a random one, or without ``rng`` the central one.

    background: what shows through transparent pictures.
    Raises BrokenRecord if the picture cannot be read.
    """
    picture = decoded(record, background)
    return centre_crop(picture, size) if rng is None else train_crop(picture, size, rng)


def captions_of(record: Record) -> list[str]:
    """Return the record's usable captions, in lower case.

    Raises MissingCaption if there is none, and BrokenRecord for what is no caption, such as a number.
    """
    try:
        captions = usable_captions(record.get("captions", ()))
    except ValueError as error:
        raise BrokenRecord(record["id"], error) from error
    if not captions:
        raise MissingCaption(record["id"])
    return captions


def captions_or_none(record: Record, policy: str) -> list[str]:
    """Return the record's usable captions, or an empty list for a record that is shown without a condition.

    policy: ``DataConfig.missing_captions``.
    Raises MissingCaption for a record without a caption under another policy, and BrokenRecord.
    """
    try:
        return captions_of(record)
    except MissingCaption:
        if policy != "unconditional":
            raise
        return []


def refuse_missing(name: str, policy: str) -> None:
    """Raise DataError for a record without a caption if these end the run."""
    if policy == "error":
        raise DataError(
            f"{name}: {MissingCaption.REASON}; give it one, or set data.missing_captions to 'drop' or 'unconditional'"
        )


def label_of(
    record: Record | CachedRecord, model: ModelConfig, drop_rate: float, rng: np.random.Generator | None
) -> np.int32:
    """Return the record's label, or the null label to drop it.

    Raises BrokenRecord if the record has no label, or one that the model does not know.
    """
    try:
        label = record.get("label")
        if label is None:
            raise ValueError("it has no label")
        return np.int32(choose_label(label, model.denoiser.null_label, drop_rate, rng))
    except ValueError as error:
        raise BrokenRecord(record["id"], error) from error


def tokenizer_config(model: ModelConfig) -> TokenizerConfig:
    """Return the settings of a text model's tokenizer.  Raises ConfigError for a model without one."""
    if model.tokenizer is None:
        raise ConfigError("ModelConfig.tokenizer is None; a model that reads text needs one")
    return model.tokenizer


class PictureExamples:
    """Examples of a data set: a crop, and the tokenised caption or the label if the model takes one.

    A call takes an index and a random generator (None for validation: central crop, first caption, nothing dropped) and
    returns ``id``, ``images`` (size, size, 3) uint8 and the condition: for text ``text_ids`` (length,) int32 and
    ``text_mask`` (length,) bool, for classes ``labels`` () int32, for a codec's config nothing.  Raises BrokenRecord.
    """

    def __init__(
        self,
        source: Source,
        model: ModelConfig | VQGANConfig,
        *,
        drop_rate: float = 0.0,
        missing_captions: str = "drop",
        tokenizer: Tokenizer | None = None,
        background: Colour = WHITE,
    ):
        self._missing, self._background = missing_captions, background
        self.source, self._drop_rate, self._given_tokenizer = source, drop_rate, tokenizer
        self._model = None if isinstance(model, VQGANConfig) else model
        self._size = (model if isinstance(model, VQGANConfig) else model.codec).image_size

    def __len__(self) -> int:
        return len(self.source)

    @functools.cached_property
    def _tokenizer(self) -> Tokenizer | None:
        if self._model is None or self._model.denoiser.condition != "text":
            return None
        return self._given_tokenizer or Tokenizer(tokenizer_config(self._model))

    def __getstate__(self) -> dict:
        return {
            name: value for name, value in self.__dict__.items() if name != "_tokenizer"
        }  # each process builds its own

    def __call__(self, index: int, rng: np.random.Generator | None) -> Example:
        record = read_record(self.source, index)
        reads_text = self._tokenizer is not None
        captions = captions_or_none(record, self._missing) if reads_text else []  # told before a picture is decoded
        example = Example(id=record["id"], images=cut(record, self._size, rng, self._background))
        if self._model is None:
            return example
        if self._tokenizer is not None:
            choice = choose(len(captions), self._drop_rate, rng)
            ids, mask = self._tokenizer(["" if choice is None else captions[choice]])
            example["text_ids"], example["text_mask"] = ids[0], mask[0]
        elif self._model.denoiser.condition == "class":
            example["labels"] = label_of(record, self._model, self._drop_rate, rng)
        return example


class CachedExamples:
    """Examples of a token cache: as ``PictureExamples``, but with ``tokens`` (length,) int32 of one of the crops."""

    def __init__(
        self, cache: TokenCache, model: ModelConfig, *, drop_rate: float = 0.0, missing_captions: str = "drop"
    ):
        self.source, self._model, self._drop_rate, self._missing = cache, model, drop_rate, missing_captions
        if model.denoiser.condition == "text":
            settings = tokenizer_config(model)
            self._no_text = np.full(settings.context_length, settings.pad_token, np.int32)
            self._positions = np.arange(settings.context_length)

    def __len__(self) -> int:
        return len(self.source)

    def __call__(self, index: int, rng: np.random.Generator | None) -> Example:
        record = self.source[index]
        crops = record["tokens"]
        if crops.shape[1] != self._model.denoiser.num_tokens:
            raise BrokenRecord(record["id"], f"it has {crops.shape[1]} tokens, not {self._model.denoiser.num_tokens}")
        crop = 0 if rng is None or len(crops) == 1 else rng.integers(len(crops))  # as ``choose`` does
        tokens = crops[crop].astype(np.int32)
        example = Example(id=record["id"], tokens=tokens)
        condition = self._model.denoiser.condition
        if condition == "text":
            if not record["captions"] and self._missing != "unconditional":
                raise MissingCaption(record["id"])
            if max(map(len, record["captions"]), default=0) > len(self._positions):
                raise BrokenRecord(record["id"], "it has a caption that is too long; the cache is damaged")
            choice = choose(len(record["captions"]), self._drop_rate, rng)
            tokens = self.source.empty_text if choice is None else record["captions"][choice]
            ids = self._no_text.copy()
            ids[: len(tokens)] = tokens
            example["text_ids"], example["text_mask"] = ids, self._positions < len(tokens)
        elif condition == "class":
            example["labels"] = label_of(record, self._model, self._drop_rate, rng)
        return example
