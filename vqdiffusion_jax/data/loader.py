"""An endless stream of batches that depends on the seed alone, not on the number of workers, processes or restarts.

Position p of the stream is example ``order(p)`` of epoch ``p // num_examples``.  Global batch s consists of positions
[s G, (s + 1) G), where G is the global batch size, and process k reads its own stretch of ``batch_size`` positions.  So
the state of the stream is one number, and any number of processes reads the same global batches.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from absl import logging

from ..config import ModelConfig, VQGANConfig, from_dict
from ..errors import BrokenRecord, ConfigError, DataError, MissingCaption
from ..pictures import colour_of
from ..random_keys import MAX_SEED, in_32_bits
from ..storage.copies import here
from ..text.tokenizer import Tokenizer
from .account import account_of
from .config import SPLITS, DataConfig
from .examples import CachedExamples, PictureExamples, refuse_missing
from .extras import check_installed, needed
from .missing import with_captions
from .read_ahead import ReadAhead, read_ahead
from .records import Source, too_many
from .sources import open_source
from .token_cache import TokenCache

_LOOKED_AT = 10  # examples tried before training starts
_LOOKED_AT_MOST = 1000  # with those that have no caption
_BROKEN = "broken"  # what workers report beside a batch
_NAMED = 5  # examples without a caption that are named in the log
_REMEMBERED = 10_000  # and those that are kept by name


def make_loader(
    data_config: DataConfig | Mapping[str, Any],
    model_config: ModelConfig | VQGANConfig,
    *,
    split: str,
    batch_size: int,
    seed: int = 0,
    process_index: int = 0,
    process_count: int = 1,
    workers: int = 0,
    codec_fingerprint: str | None = None,
    tokenizer: Tokenizer | None = None,
    short_batches: bool = False,
) -> Loader:
    """Return a loader of one split, from pictures or from a token cache.  Its settings are all checked here.

    Args:
      data_config: the data set; a plain dict of DataConfig's fields will do.
      model_config: the model that the batches are for.  A codec's config gives pictures without a condition.
      split: ``"train"`` (endless, shuffled anew each epoch, random crops and captions) or ``"validation"`` (one pass in
        order, central crops, first captions).
      batch_size: examples a batch of this process.
      process_index, process_count: this process's place among the processes that share each global batch.
      workers: processes that prepare batches; 0: threads of this one.
      codec_fingerprint: ``token_cache.codec_fingerprint`` of the model's codec; a cache of another codec is refused.
      tokenizer: the model's, if it is not CLIP's.
      short_batches: validation ends with a batch of what is left.  Otherwise, as whoever compiles for one shape needs
        it, what does not fill a global batch is left out, and a split that fills none is refused.

    Raises:
      ConfigError, DataError, FileNotFoundError: the settings or the data set cannot be used.
    """
    config = data_config if isinstance(data_config, DataConfig) else _config_of(data_config)
    if split not in SPLITS:
        raise DataError(f"split is {split!r}; allowed: {', '.join(SPLITS)}")
    if not (batch_size >= 1 and workers >= 0 and 0 <= seed <= MAX_SEED and 0 <= process_index < process_count):
        raise ConfigError(
            f"batch_size={batch_size}, workers={workers}, seed={seed}, process {process_index} of {process_count}:"
            " batch_size must be at least 1, workers at least 0, seed from 0 to 2**63 - 1, and the process one of"
            " process_count"
        )
    check_installed("grain", "reading a data set")  # which begins with the first batch
    drop_rate = config.drop_rate if split == "train" else 0.0
    if config.cache:
        if isinstance(model_config, VQGANConfig):
            raise ConfigError(
                f"data.cache is {config.cache}, which holds tokens;"
                " a codec is trained on pictures: give source and root"
            )
        cache = TokenCache(here(config.cache), split, model_config, codec_fingerprint)
        examples = CachedExamples(cache, model_config, drop_rate=drop_rate, missing_captions=config.missing_captions)
    else:
        source = with_captions(open_source(config, split), config, model_config)
        check_classes(source, config, model_config)
        examples = PictureExamples(
            source,
            model_config,
            drop_rate=drop_rate,
            missing_captions=config.missing_captions,
            tokenizer=tokenizer,
            background=colour_of(config.background),
        )
    check_examples(
        lambda index: examples(index, None), len(examples), config.cache or f"{config.source} at {config.root}"
    )
    process = (process_index, process_count)
    loader = Loader(
        examples, config, split, batch_size=batch_size, seed=seed, process=process, workers=workers, short=short_batches
    )
    if loader.num_batches == 0:
        raise DataError(
            f"{split} has {len(examples)} examples, fewer than a global batch of {loader.global_batch_size};"
            " lower batch_size, or take short batches (short_batches=True)"
        )
    return loader


def _config_of(table: Any) -> DataConfig:
    """Return the configuration of a table of any kind.  Raises ConfigError for anything else."""
    return from_dict(DataConfig, dict(table) if hasattr(table, "keys") else table, where="data")


def check_classes(source: Source, config: DataConfig, model: ModelConfig | VQGANConfig) -> None:
    """Raise DataError if the data set has more classes than the model can tell apart."""
    if isinstance(model, VQGANConfig):
        return
    count = getattr(source, "num_classes", None)
    if model.denoiser.condition == "class" and count is not None and count < model.denoiser.null_label:
        account_of(source).note(
            f"the data set has {count} classes where the model has {model.denoiser.null_label}: a class without a"
            " picture would move the labels after it"
        )
    if count is not None and model.denoiser.condition == "class" and count > model.denoiser.null_label:
        kept = " besides the null class" if model.denoiser.learnable_null else ""
        raise DataError(
            f"{config.source} at {config.root} has {count} classes but the model has {model.denoiser.null_label}{kept}"
        )


def check_examples(example: Callable[[int], Any], count: int, where: str) -> None:
    """Raise DataError if none of the first examples can be used: then the settings are wrong, not the pictures."""
    troubles: list[BrokenRecord] = []
    missing: list[MissingCaption] = []
    for index in range(min(_LOOKED_AT_MOST, count)):
        try:
            example(index)
            return
        except MissingCaption as error:
            missing.append(error)
        except BrokenRecord as error:
            troubles.append(error)
        if len(troubles) == _LOOKED_AT:
            break
    first = (troubles or missing)[0]
    raise DataError(f"{where}: none of the first {len(troubles) + len(missing)} examples can be used; {first}")


class Batches:
    """The batches of this process by number, as grain reads them.

    Beside the arrays a batch holds ``broken``: (name, reason) of each example that was replaced, because it is broken
    or has no caption.  With ``short`` the last global batch of validation is what is left, in equal parts for all
    processes; where it cannot be divided, the last example is repeated, and ``weights`` (float32) is 0 for the
    repetitions, else 1.
    """

    def __init__(
        self,
        examples,
        *,
        shuffle: bool,
        batch_size: int,
        seed: int,
        process: tuple[int, int],
        max_broken: int,
        short: bool = False,
    ):
        self._examples, self._shuffle, self._seed, self._short = examples, shuffle, seed, short
        self._batch_size, self._process, self._max_broken = batch_size, process, max_broken
        self._order = None

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_order": None}

    def __len__(self) -> int:
        if self._shuffle:
            return sys.maxsize // 2
        whole, left = divmod(len(self._examples), self._batch_size * self._process[1])
        return whole + (self._short and left > 0)

    def __getitem__(self, step: int) -> dict[str, Any]:
        index, count = self._process
        begin, share = step * count * self._batch_size, self._batch_size
        last = sys.maxsize if self._shuffle else len(self._examples) - 1
        if not self._shuffle:
            share = min(share, -(-(last + 1 - begin) // count))
        positions = begin + index * share + np.arange(share)
        broken: dict[str, str] = {}
        examples = [self._example(min(position, last), broken) for position in positions.tolist()]
        batch = {name: np.stack([e[name] for e in examples]) for name in examples[0] if name != "id"}
        if begin + count * share - 1 > last:  # in every process, so that all run one program
            batch["weights"] = (positions <= last).astype(np.float32)
        return batch | {"ids": np.array([e["id"] for e in examples]), _BROKEN: list(broken.items())}

    def _example(self, position: int, broken: dict[str, str]) -> dict[str, Any]:
        """Return the example at a position of the stream, or the next usable one of the data set if it is broken."""
        size = len(self._examples)
        chosen = self._chosen(position)
        tries = 0
        for step in range(size):
            rng = np.random.default_rng((self._seed, position // size, chosen)) if self._shuffle else None
            try:
                return self._examples((chosen + step) % size, rng)
            except BrokenRecord as error:
                broken[error.name] = error.reason
                tries += not isinstance(error, MissingCaption)
                if tries > self._max_broken:
                    break
        if not (truly := truly_broken(broken)):
            raise DataError(f"none of the {size} examples has a caption; {next(iter(broken), '')} is one of them")
        raise too_many(truly, self._max_broken)

    def _chosen(self, position: int) -> int:
        if not self._shuffle:
            return position
        if self._order is None:
            # Grain's shuffle computes one element of a permutation without the rest, and permutes anew each epoch.
            self._order = (
                needed("grain", "shuffling a data set")
                .MapDataset.range(len(self._examples))
                .shuffle(seed=in_32_bits(self._seed))
            )
        return self._order[position]


def truly_broken(broken: Mapping[str, str]) -> dict[str, str]:
    """Return the broken examples without those that only lack a caption, which no limit counts."""
    return {name: reason for name, reason in broken.items() if reason != MissingCaption.REASON}


class Loader:
    """Batches of a split, made by ``make_loader``; every ``iter(loader)`` starts at the beginning."""

    def __init__(
        self,
        examples,
        config: DataConfig,
        split: str,
        *,
        batch_size: int,
        seed: int,
        process: tuple[int, int],
        workers: int,
        short: bool,
    ):
        self.source = examples.source
        self.num_examples = len(examples)  # of the whole split, over all processes
        self.batch_size, self.global_batch_size = batch_size, batch_size * process[1]
        self.seed, self.split, self.max_broken = seed, split, config.max_broken
        self.missing_captions = config.missing_captions
        self._config, self.workers = config, workers
        self._batches = Batches(
            examples,
            shuffle=split == "train",
            batch_size=batch_size,
            seed=seed,
            process=process,
            max_broken=config.max_broken,
            short=short,
        )

    @property
    def num_batches(self) -> int | None:
        """The number of batches of a validation split; None for training, which has no end."""
        return None if self.split == "train" else len(self._batches)

    def __iter__(self) -> BatchIterator:
        return BatchIterator(self)

    def open(self, start: int) -> ReadAhead:
        """Return an iterator over the batches from number ``start`` on."""
        config = self._config
        return read_ahead(
            self._batches, start=start, threads=config.read_threads, ahead=config.prefetch_batches, workers=self.workers
        )


class BatchIterator:
    """An iterator over batches: dicts of numpy arrays with a leading axis of ``batch_size``.

    They hold ``ids``, ``images`` or ``tokens``, and ``text_ids`` and ``text_mask``, or ``labels``, or no condition.
    With ``short_batches`` the last of validation may be shorter, with ``weights`` (``Batches``).
    ``get_state()`` (plain JSON types) and ``set_state(state)`` continue the stream exactly, also with another number of
    workers or, at the same global batch size, of processes.  Raises DataError once more than ``max_broken`` examples
    are broken, or a worker has died; the position stays before the batch that could not be given.
    """

    def __init__(self, loader: Loader):
        self._loader, self._inner = loader, None
        self._taken = 0
        self.broken: dict[str, str] = {}  # name -> reason, of this process; also of those without a caption

    def __iter__(self) -> BatchIterator:
        return self

    def __next__(self) -> dict[str, Any]:
        if self._inner is None:
            self._inner = self._loader.open(self._taken)
        try:
            batch = next(self._inner)
            self.broken = self._with(dict(batch.pop(_BROKEN)))
        except StopIteration:
            raise
        except Exception:
            self.close()  # so that the next call begins with this batch again
            raise
        self._taken += 1
        # Arrays of worker processes are views of shared memory, which is freed only with the last view; hence copies.
        return {name: np.array(value) for name, value in batch.items()} if self._loader.workers else batch

    def _with(self, found: dict[str, str]) -> dict[str, str]:
        """Return the broken examples with those of a batch, each told once.  Raises DataError if they are too many."""
        if not found:
            return self.broken
        broken = dict(self.broken)
        known = len(truly_broken(broken))
        missing = len(broken) - known
        for name, reason in found.items():
            if name in broken:
                continue
            if reason == MissingCaption.REASON:
                refuse_missing(name, self._loader.missing_captions)
                missing += 1
                if missing <= _NAMED:
                    last = "; others are replaced without a line each" if missing == _NAMED else ""
                    logging.warning("example without a caption, replaced by the next one: %s%s", name, last)
                if missing <= _REMEMBERED:
                    broken[name] = reason
                continue
            broken[name] = reason
            known += 1
            logging.warning("broken example %d (of at most %d): %s: %s", known, self._loader.max_broken, name, reason)
        if known > self._loader.max_broken:
            raise too_many(truly_broken(broken), self._loader.max_broken)
        return broken

    def get_state(self) -> dict[str, Any]:
        loader = self._loader
        return {"batches": self._taken, "broken": dict(self.broken)} | _identity(loader)

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue where ``get_state`` was called.  Raises DataError if the state is of another stream."""
        for name, value in _identity(self._loader).items():
            if state.get(name) != value:
                raise DataError(
                    f"the saved data position has {name} {state.get(name)}, now it is {value};"
                    " set it back to continue there, or start anew in another --workdir, from trained weights with"
                    " --init_from=MODEL"
                )
        self.close()
        self._taken, self.broken = int(state["batches"]), dict(state["broken"])

    def close(self) -> None:
        """Stop reading ahead and end worker processes; the next batch starts them again."""
        inner, self._inner = self._inner, None
        if inner is not None:
            inner.close()


def _identity(loader: Loader) -> dict[str, Any]:
    """Return the settings under which a position means the same batch."""
    return {
        "split": loader.split,
        "seed": loader.seed,
        "num_examples": loader.num_examples,
        "global_batch_size": loader.global_batch_size,
    }
