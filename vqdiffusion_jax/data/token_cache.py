"""The token cache, a data set as codec tokens and text ids on disk: its format and its reader.

Each split is a folder.  ``manifest.json`` tells the data set, settings and codec that it was made with; a shard
``00000-of-00010.array_record`` holds examples, and the .json beside it names those left out.  ``cache_writer`` is the
writer.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import jax
import ml_dtypes
import numpy as np

from ..config import ModelConfig, TokenizerConfig, VQGANConfig, to_dict
from ..errors import BrokenRecord, DataError, brief, shown
from ..models.vqgan import VQGAN
from ..paths import path_of
from ..text.known_words import read_words
from ..text.tokenizer import Tokenizer
from ..user_files import read_json
from .extras import needed
from .transforms import CENTRE_CROP

FORMAT = "vqdiffusion_jax token cache"
FORMAT_VERSION = 1
MANIFEST = "manifest.json"

_MOST_MANIFEST = 2**24  # bytes
_TEXTS_AND_TABLES = {
    "codec": dict,
    "codec_fingerprint": str,
    "condition": str,
    "tokenizer": dict | None,
    "empty_text": list | None,
}
_NUMBERS = {  # least and most
    "num_codes": (1, 2**24),
    "vocab_size": (0, 2**24),
    "num_examples": (0, 2**40),
    "shard_size": (1, 2**40),
    "num_shards": (0, 10**6),
}
_HEAD = struct.Struct("<IIHHi")  # crops, tokens a crop, captions, bytes of the id, label (-1: none)
_NOT_ENCODING = ("decoder.", "post_quant_conv.", "quantizer.cluster_size", "quantizer.codebook_sum")


class CachedRecord(TypedDict):
    """One example of a cache."""

    id: str
    tokens: np.ndarray  # (crops, length)
    captions: list[np.ndarray]  # ids with start and end, not padded
    label: int | None


def codec_fingerprint(codec: VQGAN) -> str:
    """Return the sha256 (hex) of the codec's config and encoding weights, which decide a picture's tokens.

    Weights are rounded to bfloat16 first, so that a checkpoint has one fingerprint in every precision it is loaded in.
    """
    return digest_of(codec_settings(codec.config), codec, without=_NOT_ENCODING)


def digest_of(settings: Mapping[str, Any], network: Any, *, without: tuple[str, ...] = ()) -> str:
    """Return the sha256 (hex) of a network's settings and of its weights, rounded to bfloat16.

    without: beginnings of the paths of weights that do not count.
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    leaves = {path_of(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(network)}
    for name in sorted(leaves):
        if not name.startswith(without):
            values = np.asarray(leaves[name])
            kind = np.int64 if np.issubdtype(values.dtype, np.integer) else ml_dtypes.bfloat16
            digest.update(f"{name}{values.shape}".encode() + np.ascontiguousarray(values.astype(kind)).tobytes())
    return digest.hexdigest()


def codec_settings(config: VQGANConfig) -> dict[str, Any]:
    """Return the config in plain JSON types."""
    settings = json.loads(json.dumps(to_dict(config)))
    del settings["dropout"]  # it matters to the codec's own training alone
    return settings


def crop_settings(split: str) -> dict[str, str]:
    """Return a manifest's entries about the crops of ``split``: for validation, the offset of the central crop."""
    return {} if split == "train" else {"centre_crop": CENTRE_CROP}


def record_dtypes(manifest: dict[str, Any]) -> tuple[np.dtype, np.dtype]:
    """Return the dtypes that codec tokens and text ids are stored in, the smallest that hold them."""
    return _smallest(manifest["num_codes"]), _smallest(manifest["vocab_size"])


def _smallest(size: int) -> np.dtype:
    return np.dtype("<u2") if size <= 2**16 else np.dtype("<u4")


def pack(
    name: str,
    tokens: np.ndarray,
    captions: Sequence[Sequence[int]],
    label: int | None,
    dtypes: tuple[np.dtype, np.dtype],
) -> bytes:
    """Return a record's bytes, from tokens (crops, length); ``dtypes`` are those of tokens and of text ids."""
    encoded = name.encode()[:65535]
    return b"".join(
        [
            _HEAD.pack(*tokens.shape, len(captions), len(encoded), -1 if label is None else label),
            encoded,
            np.array([len(c) for c in captions], "<u2").tobytes(),
            *(np.asarray(c).astype(dtypes[1]).tobytes() for c in captions),
            tokens.astype(dtypes[0]).tobytes(),
        ]
    )


def unpack(data: bytes, dtypes: tuple[np.dtype, np.dtype]) -> CachedRecord:
    """Return the record of bytes that ``pack`` made.  Raises ValueError or struct.error for other bytes."""
    crops, length, num_captions, name_size, label = _HEAD.unpack_from(data)
    at = _HEAD.size
    name = data[at : at + name_size].decode(errors="replace")
    at += name_size
    lengths = np.frombuffer(data, "<u2", num_captions, at)
    at += lengths.nbytes
    captions = []
    for size in lengths.tolist():
        captions.append(np.frombuffer(data, dtypes[1], size, at))
        at += captions[-1].nbytes
    tokens = np.frombuffer(data, dtypes[0], crops * length, at).reshape(crops, length)
    return CachedRecord(id=name, tokens=tokens, captions=captions, label=None if label < 0 else label)


def make_manifest(
    model: ModelConfig,
    fingerprint: str,
    tokenizer: Tokenizer | None,
    *,
    num_examples: int,
    shard_size: int,
    **settings: Any,
) -> dict[str, Any]:
    """Return the manifest of a cache for ``model``, made by the codec with ``fingerprint``.

    tokenizer: a text model's own.
    """
    text = tokenizer if model.denoiser.condition == "text" else None
    return {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "codec": codec_settings(model.codec),
        "codec_fingerprint": fingerprint,
        "num_codes": model.codec.num_codes,
        "condition": model.denoiser.condition,
        "tokenizer": to_dict(text.config) if text else None,
        "vocab_size": text.vocab_size if text else 0,
        "empty_text": text.encode("") if text else None,
        "num_examples": num_examples,
        "shard_size": shard_size,
        "num_shards": -(-num_examples // shard_size),
        **settings,
    }


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return a cache's manifest, whose fields have their types.

    Raises FileNotFoundError or DataError, which name the file.
    """
    file = folder / MANIFEST
    if not file.is_file():
        raise FileNotFoundError(f"{file} does not exist; tokenize the data set first, by --mode=tokenize")
    try:
        manifest = read_json(file, most=_MOST_MANIFEST)
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise DataError(f"{error}; make the cache again") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise DataError(f"{file} is not of a {FORMAT}; give a folder that --mode=tokenize wrote")
    if manifest.get("version") != FORMAT_VERSION:
        found = shown(manifest.get("version"))
        raise DataError(f"{file} has version {found}; this release reads version {FORMAT_VERSION}")
    _check_types(file, manifest)
    return manifest


def _check_types(file: Path, manifest: dict[str, Any]) -> None:
    """Raise DataError for a field of the manifest that is not as ``make_manifest`` writes it."""
    empty = manifest.get("empty_text")
    fits = {name: name in manifest and isinstance(manifest[name], kind) for name, kind in _TEXTS_AND_TABLES.items()}
    fits |= {
        name: type(manifest.get(name)) is int and least <= manifest[name] <= most
        for name, (least, most) in _NUMBERS.items()
    }
    if all(fits.values()):
        fits["num_shards"] = manifest["num_shards"] == -(-manifest["num_examples"] // manifest["shard_size"])
        fits["empty_text"] = empty is None or (
            isinstance(empty, list) and all(type(i) is int and 0 <= i < manifest["vocab_size"] for i in empty)
        )
        fits["tokenizer"] = manifest["tokenizer"] is not None or manifest["condition"] != "text"
    if wrong := [name for name, good in fits.items() if not good]:
        raise DataError(
            f"{file}: {wrong[0]} is {shown(manifest.get(wrong[0]))}, as no cache has it; the file is damaged: "
            "copy it again, or make the cache again"
        )


def shard_names(manifest: dict[str, Any]) -> list[str]:
    count = manifest["num_shards"]
    return [f"{i:05d}-of-{count:05d}.array_record" for i in range(count)]


class TokenCache:
    """Random access to the records of ``folder / split``; picklable.  ``cache[i]`` raises BrokenRecord.

    Raises FileNotFoundError or DataError if there is no cache, if it is unfinished, or if it was made for another
    codec, number of codes, condition, tokenizer or ``fingerprint`` (None: not compared) than ``model``'s.
    """

    def __init__(self, folder: Path, split: str, model: ModelConfig, fingerprint: str | None = None):
        folder = folder / split
        self.manifest = manifest = read_manifest(folder)
        _check(folder, manifest, model, fingerprint)
        shards = [folder / name for name in shard_names(manifest)]
        missing = [shard for shard in shards if not shard.is_file()]
        if missing:
            raise DataError(
                f"{folder} lacks {len(missing)} of {len(shards)} shards, {missing[0].name} first;"
                " tokenize again to finish it (--mode=tokenize)"
            )
        self.known_words = read_words(folder)
        self._open([str(shard) for shard in shards])
        if not len(self):
            raise DataError(f"{folder} holds no example; see the .json files in it for what was left out")

    def _open(self, paths: list[str]) -> None:
        sources = needed("array_record.python.array_record_data_source", "reading a token cache")
        self._paths = paths
        try:
            self._records = sources.ArrayRecordDataSource(paths)
        except Exception as error:  # the library raises RuntimeError, ValueError, ... for damaged shards
            raise DataError(_damaged_shard(sources, paths, error)) from error
        self._dtypes = record_dtypes(self.manifest)
        self.empty_text = self.manifest["empty_text"]

    def __getstate__(self) -> dict:
        return {"manifest": self.manifest, "known_words": self.known_words, "_paths": self._paths}

    def __setstate__(self, state: dict) -> None:
        self.manifest, self.known_words = state["manifest"], state["known_words"]
        self._open(state["_paths"])

    def __len__(self) -> int:
        return len(self._records)

    def raw(self, index: int) -> bytes:
        """Return the bytes of a record, which ``unpack`` reads."""
        return self._records[index]

    def __getitem__(self, index: int) -> CachedRecord:
        try:
            record = unpack(self.raw(index), self._dtypes)
        except MemoryError:
            raise
        except Exception as error:  # the library's RuntimeError of a checksum that is wrong
            folder = Path(self._paths[0]).parent
            raise BrokenRecord(f"example {index} of {folder}", f"it is damaged: {brief(error)}") from error
        tokens, captions = record["tokens"], record["captions"]
        # ``reduce`` is what ``max`` calls, in less time.
        if not tokens.size or np.maximum.reduce(tokens, axis=None) >= self.manifest["num_codes"]:
            raise BrokenRecord(brief(record["id"], 80), "its tokens are not those of the codec")
        for caption in captions:
            if caption.size and np.maximum.reduce(caption) >= self.manifest["vocab_size"]:
                raise BrokenRecord(brief(record["id"], 80), "its captions are not those of the tokenizer")
        return record


def _damaged_shard(sources: Any, paths: list[str], error: Exception) -> str:
    """Return the message about the first shard that cannot be opened by itself."""
    for path in paths:
        try:
            sources.ArrayRecordDataSource([path])
        except Exception as alone:
            path, error = path, alone
            break
    else:
        path = str(Path(paths[0]).parent) if paths else "the cache"
    return f"{path} is damaged ({brief(error)}); copy it again, or delete it and run --mode=tokenize again"


def _check(folder: Path, manifest: dict[str, Any], model: ModelConfig, fingerprint: str | None) -> None:
    again = "tokenize again (--mode=tokenize), or train with what made it"
    if manifest["num_codes"] != model.denoiser.num_codes:
        raise DataError(
            f"{folder} holds tokens of {manifest['num_codes']} codes but the model has {model.denoiser.num_codes};"
            f" {again}"
        )
    if changed := differences(manifest["codec"], codec_settings(model.codec)):
        raise DataError(f"{folder} was made by another codec ({changed}); {again}")
    if fingerprint is not None and manifest["codec_fingerprint"] != fingerprint:
        theirs, ours = manifest["codec_fingerprint"][:12], fingerprint[:12]
        raise DataError(
            f"{folder} was made by a codec with other weights (fingerprint {theirs}, this one's is {ours}); {again}"
        )
    crops = crop_settings(manifest.get("split", "train"))
    if changed := differences({name: manifest.get(name) for name in crops}, crops):
        raise DataError(f"{folder} was cut by an earlier version ({changed}); {again}")
    condition = model.denoiser.condition
    if condition not in ("none", manifest["condition"]):
        raise DataError(
            f"{folder} was made for condition {manifest['condition']!r} but the model's is {condition!r}; {again}"
        )
    if condition == "text":
        if changed := differences(manifest["tokenizer"], to_dict(model.tokenizer)):
            raise DataError(f"{folder} was made with other tokenizer settings ({changed}); {again}")


def differences(theirs: dict[str, Any] | None, ours: dict[str, Any] | None) -> str:
    """Return ``field 1, not 2`` for every field that differs; an empty text if none does."""
    theirs, ours = theirs or {}, ours or {}
    names = sorted(theirs.keys() | ours.keys())
    return ", ".join(
        f"{brief(name, 40)} {_setting(theirs.get(name))}, not {_setting(ours.get(name))}"
        for name in names
        if theirs.get(name) != ours.get(name)
    )


def _setting(value: Any) -> str:
    """Return a setting for a message: a text as it is, and anything else as in Python."""
    return brief(value) if isinstance(value, str) else shown(value)


def check_tokenizer(model: ModelConfig, settings: TokenizerConfig | None) -> None:
    """Raise DataError unless captions would be tokenised as ``model`` expects."""
    if changed := differences(settings and to_dict(settings), model.tokenizer and to_dict(model.tokenizer)):
        raise DataError(
            f"the tokenizer's settings are not the model's ({changed}); give the checkpoint that the model starts from"
        )
