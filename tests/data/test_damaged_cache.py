"""Damaged token caches: one line that names the file, or a broken example that is counted."""

import json
import random

import numpy as np
import pytest

from vqdiffusion_jax import preset
from vqdiffusion_jax.data.cache_writer import write_records
from vqdiffusion_jax.data.examples import CachedExamples
from vqdiffusion_jax.data.token_cache import MANIFEST, TokenCache, make_manifest, pack, record_dtypes, unpack
from vqdiffusion_jax.errors import BrokenRecord, DataError
from vqdiffusion_jax.text.tokenizer import Tokenizer

MODEL = preset("tiny_text")
COUNT = 6


def records(manifest, tokens=None, captions=((1, 2, 3), (4, 5))):
    length = MODEL.denoiser.num_tokens
    tokens = np.zeros((2, length), int) if tokens is None else tokens
    return [pack(f"{i:03d}.png", tokens, captions, None, record_dtypes(manifest)) for i in range(COUNT)]


@pytest.fixture(scope="module")
def manifest():
    return make_manifest(MODEL, "f" * 64, Tokenizer(MODEL.tokenizer), num_examples=COUNT, shard_size=3, split="train")


@pytest.fixture
def cache(tmp_path, manifest):
    """The folder of a whole cache of two shards."""
    folder = tmp_path / "cache" / "train"
    folder.mkdir(parents=True)
    (folder / MANIFEST).write_text(json.dumps(manifest))
    whole = records(manifest)
    for shard in range(2):
        write_records(folder / f"{shard:05d}-of-00002.array_record", whole[3 * shard : 3 * shard + 3])
    return folder


def opened(folder):
    return TokenCache(folder.parent, "train", MODEL)


def test_the_whole_cache_reads(cache):
    examples = CachedExamples(opened(cache), MODEL)
    assert [examples(i, None)["id"] for i in range(COUNT)] == [f"{i:03d}.png" for i in range(COUNT)]


MANIFESTS = {
    "num_shards": (10**12, -1, "2", None, 3),
    "num_examples": (-1, 2**63, 1.5),
    "shard_size": (0, True),
    "num_codes": (0, "16", [], 1e300),
    "vocab_size": (-1, None),
    "codec": ([], None, "x"),
    "codec_fingerprint": (1, None),
    "condition": ({}, None),
    "tokenizer": (None, []),
    "empty_text": ([2**40], ["a"], {}),
    "version": ([], 10**400),
}


@pytest.mark.parametrize("field", MANIFESTS)
def test_a_manifest_of_other_types_is_one_line(cache, manifest, field):
    for value in MANIFESTS[field]:
        (cache / MANIFEST).write_text(json.dumps(manifest | {field: value}))
        with pytest.raises(DataError) as caught:
            opened(cache)
        assert field in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 1000


@pytest.mark.parametrize("field", sorted(MANIFESTS))
def test_a_manifest_that_lacks_a_field_is_one_line(cache, manifest, field):
    (cache / MANIFEST).write_text(json.dumps({name: value for name, value in manifest.items() if name != field}))
    with pytest.raises(DataError, match=field):
        opened(cache)


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, '{"a": ' + "9" * 10_000 + "}", "\ud800"])
def test_a_manifest_that_is_no_table_is_one_line(cache, text):
    (cache / MANIFEST).write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(DataError, match="manifest.json"):
        opened(cache)


def test_a_shard_that_cannot_be_opened_is_named(cache):
    shard = cache / "00001-of-00002.array_record"
    whole = shard.read_bytes()
    for damaged in (b"", whole[:1000], whole[:-100], whole[:-65536] + bytes(65536)):
        shard.write_bytes(damaged)
        with pytest.raises(DataError, match="00001-of-00002.array_record is damaged"):
            opened(cache)


def test_any_flipped_bytes_are_a_broken_example_or_one_line(cache):
    draw = random.Random(0)
    shard = cache / "00000-of-00002.array_record"
    whole = shard.read_bytes()
    used = len(whole.rstrip(b"\0"))
    for _ in range(60):
        damaged, at = bytearray(whole), draw.randrange(min(used, 2000))
        damaged[at : at + 8] = draw.randbytes(8)
        shard.write_bytes(damaged)
        try:
            examples = CachedExamples(opened(cache), MODEL)
        except DataError as error:
            assert "00000-of-00002.array_record" in str(error) and "\n" not in str(error)
            continue
        for index in range(len(examples)):
            try:
                examples(index, None)
            except BrokenRecord as error:
                assert "\n" not in str(error)


def test_records_that_do_not_fit_the_model_are_broken(cache, manifest):
    length = MODEL.denoiser.num_tokens
    context = MODEL.tokenizer.context_length
    wrong = {
        "codes": records(manifest, tokens=np.full((1, length), 60_000)),
        "length": records(manifest, tokens=np.zeros((1, length + 1), int)),
        "crops": records(manifest, tokens=np.zeros((0, length), int)),
        "captions": records(manifest, captions=()),
        "long captions": records(manifest, captions=[range(context + 1)]),
        "ids": records(manifest, captions=[[60_000]]),
        "bytes": [b""] * COUNT,
    }
    for whole in wrong.values():
        for shard in range(2):
            write_records(cache / f"{shard:05d}-of-00002.array_record", whole[:3])
        examples = CachedExamples(opened(cache), MODEL)
        for rng in (None, np.random.default_rng(0)):
            with pytest.raises(BrokenRecord):
                examples(0, rng)


def test_bytes_cut_anywhere_are_no_record(manifest):
    whole, dtypes = records(manifest)[0], record_dtypes(manifest)
    for end in range(len(whole)):
        with pytest.raises(Exception) as caught:
            unpack(whole[:end], dtypes)
        assert type(caught.value).__name__ in ("error", "ValueError")
