"""A token cache of compositions, put together from the tokens of single drawings: nothing is rendered a second time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np

from vqdiffusion_jax.config import ModelConfig
from vqdiffusion_jax.data.cache_writer import write_records
from vqdiffusion_jax.data.compositions.captions import caption
from vqdiffusion_jax.data.compositions.tokens import TokenLibrary
from vqdiffusion_jax.data.sources.compositions import Compositions
from vqdiffusion_jax.data.token_cache import (
    MANIFEST,
    codec_fingerprint,
    crop_settings,
    make_manifest,
    pack,
    record_dtypes,
    shard_names,
)
from vqdiffusion_jax.files import write_whole
from vqdiffusion_jax.models.vqgan import VQGAN, encode_exactly, images_to_float
from vqdiffusion_jax.text.known_words import write_words
from vqdiffusion_jax.text.tokenizer import Tokenizer

SHARD_SIZE = 4096
_CAPTION = 1_000_000  # streams of random numbers for wordings, apart from those of pictures


def write_cache(
    out: Path, source: Compositions, model: ModelConfig, codec: VQGAN, *, split: str, options: dict, wordings: int = 2
) -> int:
    """Write the cache ``out / split`` of all examples of ``source``, each told in ``wordings`` ways.

    options: those of ``source``, for the manifest.  Shards that are there are kept, so that a stopped run goes on.
    Returns the number of shards written.
    """
    tokenizer = Tokenizer(model.tokenizer) if model.tokenizer else None
    assert tokenizer is not None  # the model reads text
    manifest = make_manifest(
        model,
        codec_fingerprint(codec),
        tokenizer,
        source="compositions",
        options=json.loads(json.dumps(options)),
        split=split,
        crops=1,
        num_examples=len(source),
        shard_size=SHARD_SIZE,
        **crop_settings(split),
    )
    folder = out / split
    folder.mkdir(parents=True, exist_ok=True)
    path, text = folder / MANIFEST, json.dumps(manifest, indent=1) + "\n"
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise SystemExit(f"{folder} was begun with other settings or another codec; delete it, or name another folder")
    with write_whole(path) as place:
        place.write_text(text, encoding="utf-8")
    write_words(folder, source.known_words)
    tokens, missing = TokenLibrary(source.library, encoder(codec)), 0
    for shard, name in enumerate(shard_names(manifest)):
        if (folder / name).exists():
            continue
        span = range(shard * SHARD_SIZE, min((shard + 1) * SHARD_SIZE, len(source)))
        with write_whole(folder / name) as place:
            write_records(place, _records(source, tokens, tokenizer, span, wordings, record_dtypes(manifest)))
        missing += 1
        print(f"tokens, {split}: {span.stop} of {len(source)}", flush=True)
    return missing


def _records(
    source: Compositions,
    tokens: TokenLibrary,
    tokenizer: Tokenizer,
    span: range,
    wordings: int,
    dtypes: tuple[np.dtype, np.dtype],
) -> Iterator[bytes]:
    for number in span:
        composition = source.composition(number)
        rng = np.random.default_rng((_CAPTION, number))
        told = [caption(composition, source.library, rng) for _ in range(wordings)]
        ids = [_ids(tokenizer, words) for words in told]
        yield pack(f"composition {number}", tokens.tokens(composition)[None], ids, None, dtypes)


def encoder(codec: VQGAN):
    """Return a function from images (n, 64, 64, 3) uint8 to tokens (n, length)."""
    encode = jax.jit(lambda images: encode_exactly(codec, images_to_float(images)))
    return lambda images: np.asarray(encode(images))


def _ids(tokenizer: Tokenizer, words: str) -> list[int]:
    """Return a text's ids, cut to the model's context but not padded."""
    ids, mask = tokenizer([words])
    return ids[mask].tolist()
