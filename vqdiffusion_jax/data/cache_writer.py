"""The writer of token caches.  Shards are written whole or not at all, so an interrupted run can continue."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ..batching import batch_devices, in_batches, local_mesh, replicate
from ..config import ModelConfig
from ..errors import BrokenRecord, DataError, MissingCaption
from ..files import write_whole
from ..folder_lock import FolderLock
from ..models.vqgan import VQGAN, encode_exactly, images_to_float
from ..pictures import WHITE, Colour, colour_of
from ..random_keys import MAX_SEED, key_of
from ..storage.addresses import on_this_machine
from ..text.known_words import write_words
from ..text.tokenizer import Tokenizer
from ..user_files import read_json
from .config import DataConfig
from .examples import captions_or_none, cut, label_of, read_record, refuse_missing, tokenizer_config
from .extras import needed
from .loader import check_classes, check_examples
from .missing import with_captions
from .read_ahead import read_ahead
from .records import Source, known_words_of, too_many
from .sources import open_source
from .token_cache import (
    MANIFEST,
    check_tokenizer,
    codec_fingerprint,
    codec_settings,
    crop_settings,
    differences,
    make_manifest,
    pack,
    read_manifest,
    record_dtypes,
    shard_names,
)

SHARD_SIZE = 4096  # examples
_AHEAD = 32  # examples prepared before they are encoded, in each process
_Encode = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def write_cache(
    config: DataConfig,
    model: ModelConfig,
    codec: VQGAN,
    out: Path,
    *,
    split: str,
    crops: int = 1,
    seed: int = 0,
    batch_size: int = 32,
    shard_size: int = SHARD_SIZE,
    process_index: int = 0,
    process_count: int = 1,
    workers: int = 0,
    tokenizer: Tokenizer | None = None,
    progress: Callable[[Iterable, int], Iterable] = lambda items, total: items,
    opened: Callable[[Source], None] = lambda source: None,
) -> dict[str, int]:
    """Write the token cache ``out / split``, or this process's share of its shards.  Existing shards are kept.

    Args:
      config, split: the data set.  Training pictures get ``crops`` random crops, validation pictures the central one.
      model: the model that the cache is for; its condition decides whether captions or labels are stored.
      codec: the encoder.  A Gumbel codec's tokens are drawn, as in the reference, with a key of (seed, example, crop).
      batch_size: pictures encoded together, spread over this process's devices.
      shard_size: examples a shard.
      process_index, process_count: this process writes every ``process_count``-th shard, from ``process_index`` on.
      workers: processes that prepare pictures; 0: threads of this one.
      tokenizer: the model's, if it is not CLIP's.
      progress: a wrapper of the stream of examples that also takes its length, like tqdm.
      opened: takes the data set before anything is read.

    Returns:
      ``shards``, ``examples`` and ``broken`` (examples left out) of this call, and ``without_caption`` if that left out
      any more.
    Raises:
      DataError: ``out / split`` was begun with other settings, or more than ``config.max_broken`` examples are broken.
    """
    sizes = {"crops": crops, "batch_size": batch_size, "shard_size": shard_size, "process_count": process_count}
    for name, value in sizes.items():
        if value < 1:
            raise DataError(f"{name} is {value}; it must be at least 1")
    for name, value in {"seed": seed, "workers": workers, "process_index": process_index}.items():
        if value < 0:
            raise DataError(f"{name} is {value}; it must be at least 0")
        if value > MAX_SEED:
            raise DataError(f"{name} is {value}; it must be at most 2**63 - 1")
    if process_index >= process_count:
        raise DataError(f"process_index is {process_index}; it must be below process_count, {process_count}")
    if split != "train" and crops != 1:
        raise DataError(f"crops is {crops}, but validation pictures are cut once, in the middle; set crops to 1")
    if changed := differences(codec_settings(codec.config), codec_settings(model.codec)):
        raise DataError(f"the codec is not the one that the model is configured for ({changed})")
    source = with_captions(open_source(config, split), config, model)
    check_classes(source, config, model)
    opened(source)
    if model.denoiser.condition == "text":
        tokenizer = tokenizer or Tokenizer(tokenizer_config(model))
        check_tokenizer(model, tokenizer.config)
    background = colour_of(config.background)
    pictures = _Pictures(source, model, tokenizer, crops, seed, split, config.missing_captions, background)
    check_examples(pictures.read, len(source), f"{config.source} at {config.root}")
    manifest = make_manifest(
        model,
        codec_fingerprint(codec),
        tokenizer,
        source=config.source,
        options=json.loads(json.dumps(dict(config.options))),
        validation_fraction=config.validation_fraction,
        split=split,
        crops=crops,
        seed=seed,
        num_examples=len(source),
        shard_size=shard_size,
        **crop_settings(split),
        **({} if background == WHITE else {"background": list(background)}),
    )
    folder = on_this_machine(out, "a cache that is being written") / split
    _claim(folder, manifest)
    write_words(folder, known_words_of(source))
    lock = f".part-{process_index}-of-{process_count}.lock"
    with FolderLock(folder, lock, doing="tokenizing", flag="--out", error=DataError):
        names = shard_names(manifest)
        shards = [
            shard for shard in range(process_index, len(names), process_count) if not (folder / names[shard]).exists()
        ]
        spans = [np.arange(shard * shard_size, min((shard + 1) * shard_size, len(source))) for shard in shards]
        pictures.indices = np.concatenate([np.zeros(0, int), *spans])
        stream = read_ahead(pictures, threads=config.read_threads, ahead=_AHEAD, workers=workers)
        encode, broken, without, written = _encoder(codec, seed), {}, 0, 0
        try:
            items = iter(progress(stream, len(pictures)))
            for shard, span in zip(shards, spans, strict=True):
                path, left_out, missing = folder / names[shard], {}, {}
                for half_written in folder.glob(f".{path.name}.*"):
                    half_written.unlink()
                good = _note_broken(itertools.islice(items, len(span)), left_out, missing, broken, config)
                with write_whole(path) as place:
                    count = write_records(
                        place, _records(good, encode, max(1, batch_size // crops), record_dtypes(manifest))
                    )
                    told = {"without_caption": list(missing)} if missing else {}
                    _write_json(path.with_suffix(".json"), {"examples": count, "broken": left_out} | told)
                written, without = written + count, without + len(missing)
        finally:
            stream.close()
    done = {"shards": len(shards), "examples": written, "broken": len(broken)}
    return done | ({"without_caption": without} if without else {})


def done_before(folder: Path, process_index: int = 0, process_count: int = 1) -> str:
    """Return, in words, what this process's share of the shards in ``folder`` holds; all of them are there."""
    shards = shard_names(read_manifest(folder))[process_index::process_count]
    if not shards:
        return "no shard falls to this process"
    accounts = [read_json(path) for name in shards if (path := (folder / name).with_suffix(".json")).exists()]
    return f"{len(shards)} shards, {sum(account['examples'] for account in accounts)} examples; nothing was left to do"


def _claim(folder: Path, manifest: dict[str, Any]) -> None:
    """Write the manifest to ``folder``, or check that the one there is equal.  Every process may do this."""
    if (folder / MANIFEST).exists():
        if changed := differences(read_manifest(folder), manifest):
            raise DataError(
                f"{folder} was begun with other settings ({changed}); repeat them to continue, or name another folder"
            )
        return
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(folder / MANIFEST, manifest)


def _write_json(path: Path, table: dict[str, Any]) -> None:
    with write_whole(path) as place:
        place.write_text(json.dumps(table, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


class _Pictures:
    """The examples ``indices``, ready to encode: all crops, the captions' ids and the label.

    A broken example is ``{"broken": (name, reason)}``, one without a caption ``{"missing": name}``.
    """

    def __init__(
        self,
        source: Source,
        model: ModelConfig,
        tokenizer: Tokenizer | None,
        crops: int,
        seed: int,
        split: str,
        missing_captions: str,
        background: Colour,
    ):
        self._missing, self._background = missing_captions, background
        self._source, self._model, self._tokenizer = source, model, tokenizer
        self._crops, self._seed, self._train = crops, seed, split == "train"
        self.indices = np.arange(len(source))

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, place: int) -> dict[str, Any]:
        try:
            return self.read(int(self.indices[place]))
        except MissingCaption as error:
            return {"missing": error.name}
        except BrokenRecord as error:
            return {"broken": (error.name, error.reason)}

    def read(self, index: int) -> dict[str, Any]:
        """Return example ``index``.  Raises BrokenRecord."""
        record = read_record(self._source, index)
        size, condition = self._model.codec.image_size, self._model.denoiser.condition
        rngs = [
            np.random.default_rng((self._seed, index, crop)) if self._train else None for crop in range(self._crops)
        ]
        crops = np.stack([cut(record, size, rng, self._background) for rng in rngs])
        example = {"index": index, "name": record["id"], "images": crops}
        if condition == "text" and self._tokenizer is not None:
            captions = captions_or_none(record, self._missing)
            example["captions"] = [_ids(self._tokenizer, caption) for caption in captions]
        if condition == "class":
            example["label"] = int(label_of(record, self._model, 0.0, None))
        return example


def _ids(tokenizer: Tokenizer, text: str) -> np.ndarray:
    """Return the ids of a caption, cut to the model's context but not padded."""
    ids, mask = tokenizer([text])
    return ids[mask]


def _note_broken(
    items: Iterable[dict],
    left_out: dict[str, str],
    missing: dict[str, None],
    broken: dict[str, str],
    config: DataConfig,
) -> Iterator[dict]:
    """Yield the usable examples; note the broken ones in both dicts, and those without a caption in ``missing``.

    Raises DataError beyond ``config.max_broken`` broken ones, and for a missing caption where none may be missing.
    """
    for item in items:
        if "missing" in item:
            refuse_missing(item["missing"], config.missing_captions)
            missing[item["missing"]] = None
            continue
        if "broken" not in item:
            yield item
            continue
        name, reason = item["broken"]
        left_out[name] = broken[name] = reason
        if len(broken) > config.max_broken:
            raise too_many(broken, config.max_broken)


def _records(
    examples: Iterator[dict], encode: _Encode, at_once: int, dtypes: tuple[np.dtype, np.dtype]
) -> Iterator[bytes]:
    """Yield packed records, encoding ``at_once`` examples together.

    The last batch is filled up to the same size, so that one compiled program serves all.
    """
    while batch := list(itertools.islice(examples, at_once)):
        crops = len(batch[0]["images"])
        filled = batch + [batch[-1]] * (at_once - len(batch))
        tokens = encode(
            np.concatenate([e["images"] for e in filled]),
            np.repeat(np.array([e["index"] for e in filled], np.uint32), crops),
            np.tile(np.arange(crops, dtype=np.uint32), len(filled)),
        )
        for example, its_tokens in zip(batch, tokens.reshape(len(filled), crops, -1), strict=False):
            yield pack(example["name"], its_tokens, example.get("captions", ()), example.get("label"), dtypes)


def write_records(path: Path, records: Iterable[bytes]) -> int:
    """Write one shard and return its number of records."""
    array_record = needed("array_record.python.array_record_module", "writing a token cache")
    writer, count = array_record.ArrayRecordWriter(str(path), "group_size:1"), 0
    try:
        for record in records:
            writer.write(record)
            count += 1
    finally:
        writer.close()
    return count


def _encoder(codec: VQGAN, seed: int) -> _Encode:
    """Return a function from images (n, size, size, 3) uint8 to tokens (n, length).

    Its other arguments are the numbers of example and crop, (n,) each.  Each device of this process encodes its share
    of the images.
    """
    mesh = local_mesh()
    codec, key = replicate(codec, mesh), key_of(seed)

    def encode(images: np.ndarray, numbers: np.ndarray, crops: np.ndarray) -> np.ndarray:
        share = -(-len(images) // batch_devices(mesh))
        return in_batches(lambda batch: _tokens(codec, key, *batch), (images, numbers, crops), share, mesh=mesh)

    return encode


@jax.jit
def _tokens(codec: VQGAN, key: jax.Array, images: jax.Array, numbers: jax.Array, crops: jax.Array) -> jax.Array:
    keys = jax.vmap(lambda number, crop: jax.random.fold_in(jax.random.fold_in(key, number), crop))(numbers, crops)
    return encode_exactly(codec, images_to_float(images), key=keys)
