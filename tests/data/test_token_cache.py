"""Token caches hold the codec's tokens and the tokenizer's ids, resume, and are refused by models they do not fit."""

import dataclasses
import json
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.data import layouts
from tests.networks import random_network
from vqdiffusion_jax import preset
from vqdiffusion_jax.data import DataConfig, make_loader
from vqdiffusion_jax.data.cache_writer import write_cache
from vqdiffusion_jax.data.records import Selection, known_words_of
from vqdiffusion_jax.data.token_cache import TokenCache, codec_fingerprint, pack, unpack
from vqdiffusion_jax.errors import DataError
from vqdiffusion_jax.models.vqgan import VQGAN, images_to_float
from vqdiffusion_jax.text.known_words import KnownWords
from vqdiffusion_jax.text.tokenizer import Tokenizer

TEXT, GUMBEL, CLASS = preset("tiny_text"), preset("tiny_unconditional"), preset("tiny_class")
COUNT = 10
encode = jax.jit(VQGAN.encode)  # one program: op by op, a codec is more than a hundred


@pytest.fixture(scope="module")
def codecs():
    return {model: random_network(VQGAN, model.codec) for model in (TEXT, GUMBEL, CLASS)}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return DataConfig(source="folder", root=str(layouts.folder(tmp_path_factory.mktemp("data") / "pictures", COUNT)))


@pytest.fixture
def write(data, codecs, tmp_path):
    def write(model=TEXT, out="cache", config=data, codec=None, **options):
        options = {"split": "train", "batch_size": 4, "shard_size": 3} | options
        return write_cache(config, model, codec or codecs[model], tmp_path / out, **options)

    return write


def records(folder, model=TEXT):
    cache = TokenCache(folder, "train", model)
    return [cache[i] for i in range(len(cache))]


def same(a, b):
    return all(
        x["id"] == y["id"]
        and np.array_equal(x["tokens"], y["tokens"])
        and list(map(list, x["captions"])) == list(map(list, y["captions"]))
        for x, y in zip(a, b, strict=True)
    )


def test_record_round_trip():
    dtypes = np.dtype("<u2"), np.dtype("<u4")
    tokens = np.arange(12).reshape(3, 4) + 60000 - 5
    record = unpack(pack("añb", tokens, [[1, 70000], [], [5]], None, dtypes), dtypes)
    assert (
        record["id"] == "añb"
        and record["label"] is None
        and [c.tolist() for c in record["captions"]] == [[1, 70000], [], [5]]
    )
    np.testing.assert_array_equal(record["tokens"], tokens)
    assert unpack(pack("x", tokens, (), 7, dtypes), dtypes)["label"] == 7


def test_holds_the_codecs_tokens_and_all_captions(write, data, codecs, tmp_path):
    assert write(crops=2) == {"shards": 4, "examples": COUNT, "broken": 0}
    found = records(tmp_path / "cache")
    tokenizer = Tokenizer(TEXT.tokenizer)
    assert [r["id"] for r in found] == [f"{i:03d}.png" for i in range(COUNT)]
    assert [[tokenizer.decode(c) for c in r["captions"]] for r in found] == [
        [f"picture {i}", f"a drawing of {i}"] for i in range(COUNT)
    ]
    # Picture 2 is of the codec's size already, so every crop of it is the picture.
    expected = encode(codecs[TEXT], images_to_float(layouts.pixels(2)[None]))[0]
    assert found[2]["tokens"].shape == (2, 16) and (found[2]["tokens"] == np.asarray(expected)).all()
    assert any((r["tokens"][0] != r["tokens"][1]).any() for r in found)


def test_gumbel_tokens_are_drawn_whatever_the_batch(write, codecs, tmp_path):
    write(GUMBEL, "two", batch_size=2)
    write(GUMBEL, "seven", batch_size=7, shard_size=100)
    write(GUMBEL, "other", seed=1)
    two, seven, other = (records(tmp_path / name, GUMBEL) for name in ("two", "seven", "other"))
    assert same(two, seven)
    assert not np.array_equal(two[2]["tokens"], other[2]["tokens"])  # another draw for the same picture
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(0), 2), 0)
    expected = encode(codecs[GUMBEL], images_to_float(layouts.pixels(2)[None]), key=jnp.stack([key]))[0]
    np.testing.assert_array_equal(two[2]["tokens"][0], expected)


def test_validation_is_cut_in_the_middle(write, codecs, tmp_path):
    for split in ("train", "val"):
        layouts.folder(tmp_path / "both" / split, 5)
    both = DataConfig(source="folder", root=str(tmp_path / "both"))
    write(config=both, split="validation")
    batch = next(iter(make_loader({"cache": str(tmp_path / "cache")}, TEXT, split="validation", batch_size=4)))
    pictures = next(iter(make_loader(both, TEXT, split="validation", batch_size=4)))
    np.testing.assert_array_equal(batch["tokens"], encode(codecs[TEXT], images_to_float(pictures["images"])))
    assert all(np.array_equal(batch[name], pictures[name]) for name in ("text_ids", "text_mask", "ids"))
    with pytest.raises(DataError, match="cut once"):
        write(config=both, split="validation", crops=2)


def test_a_cache_of_earlier_central_crops_is_told_from_todays(write, tmp_path):
    """Until CENTRE_CROP there was no word of the crop in a manifest; training crops are as they were."""
    for split in ("train", "val"):
        layouts.folder(tmp_path / "both" / split, 5)
    both = DataConfig(source="folder", root=str(tmp_path / "both"))
    for split in ("train", "validation"):
        write(config=both, split=split)
        file = tmp_path / "cache" / split / "manifest.json"
        manifest = json.loads(file.read_text())
        assert (manifest.pop("centre_crop", None) is None) == (split == "train")
        file.write_text(json.dumps(manifest))
    TokenCache(tmp_path / "cache", "train", TEXT)
    with pytest.raises(DataError, match=r"cut by an earlier version \(centre_crop None, not \(side - size\) // 2\)"):
        TokenCache(tmp_path / "cache", "validation", TEXT)
    with pytest.raises(DataError, match=r"begun with other settings \(centre_crop None, not"):
        write(config=both, split="validation")


def test_loads_like_pictures(write, data, tmp_path):
    write(crops=3)
    table = {"cache": str(tmp_path / "cache"), "drop_rate": 0.3}
    cached, pictures = (
        iter(make_loader(d, TEXT, split="train", batch_size=5))
        for d in (table, dataclasses.replace(data, drop_rate=0.3))
    )
    seen, drops = {}, []
    for _ in range(60):
        batch, other = next(cached), next(pictures)
        assert batch["ids"].tolist() == other["ids"].tolist()  # one order, whichever is read
        assert (
            batch["tokens"].dtype == np.int32
            and batch["text_ids"].dtype == np.int32
            and batch["text_mask"].dtype == bool
        )
        for i, name in enumerate(batch["ids"].tolist()):
            seen.setdefault(name, set()).add((batch["tokens"][i].tobytes(), batch["text_ids"][i].tobytes()))
        drops.append(~batch["text_mask"][:, 2])
    assert 0.2 < np.mean(drops) < 0.4
    assert {len({text for _, text in versions}) for versions in seen.values()} == {3}  # two captions and none
    assert max(len({tokens for tokens, _ in versions}) for versions in seen.values()) == 3


def test_a_part_is_written_by_one_run_at_a_time(write):
    def progress(items, total):
        with pytest.raises(DataError, match="another run is tokenizing in"):
            write()
        return items

    write(progress=progress)
    write()


def test_continues_after_an_interruption(write, tmp_path):
    def stops_after(count):
        def progress(items, total):
            for number, item in enumerate(items):
                if number == count:
                    raise KeyboardInterrupt
                yield item

        return progress

    with pytest.raises(KeyboardInterrupt):
        write(progress=stops_after(5))
    folder = tmp_path / "cache" / "train"
    assert sorted(p.name for p in folder.iterdir()) == [
        "00000-of-00004.array_record",
        "00000-of-00004.json",
        "manifest.json",
    ]
    with pytest.raises(DataError, match="lacks 3 of 4 shards, 00001-of-00004.array_record first"):
        TokenCache(tmp_path / "cache", "train", TEXT)
    first = (folder / "00000-of-00004.array_record").stat().st_mtime_ns
    (folder / ".00002-of-00004.array_record.0123").write_bytes(b"left by a process that was killed")
    assert write() == {"shards": 3, "examples": 7, "broken": 0}
    assert (folder / "00000-of-00004.array_record").stat().st_mtime_ns == first and not list(folder.glob(".*"))
    assert write() == {"shards": 0, "examples": 0, "broken": 0}
    write(out="at once")
    assert same(records(tmp_path / "cache"), records(tmp_path / "at once"))


def test_processes_write_the_whole_cache(write, tmp_path):
    assert [write(process_index=i, process_count=3)["shards"] for i in range(3)] == [2, 1, 1]
    write(out="at once")
    assert same(records(tmp_path / "cache"), records(tmp_path / "at once"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shard_size": 0}, "shard_size is 0; it must be at least 1"),
        ({"workers": -1}, "workers is -1; it must be at least 0"),
        ({"process_index": 3, "process_count": 3}, "process_index is 3; it must be below process_count, 3"),
    ],
)
def test_settings_out_of_range_are_named(write, settings, message):
    with pytest.raises(DataError, match=message):
        write(**settings)


def test_broken_pictures_are_left_out_and_named(write, data, tmp_path):
    root = layouts.folder(tmp_path / "pictures", COUNT)
    for i in (0, 4, 5):
        layouts.put(root / f"{i:03d}.png", b"no picture")
    config = DataConfig(source="folder", root=str(root))
    assert write(config=config) == {"shards": 4, "examples": 7, "broken": 3}
    assert [r["id"][:3] for r in records(tmp_path / "cache")] == ["001", "002", "003", "006", "007", "008", "009"]
    notes = json.loads((tmp_path / "cache" / "train" / "00001-of-00004.json").read_text())
    assert notes["examples"] == 1 and notes["broken"].keys() == {"004.png", "005.png"}
    with pytest.raises(DataError, match="3 broken examples, more than max_broken=2.*005.png"):
        write(out="other", config=dataclasses.replace(config, max_broken=2))


def test_labels(codecs, tmp_path):
    config = DataConfig(source="imagenet", root=str(layouts.imagenet(tmp_path / "imagenet")))
    write_cache(config, CLASS, codecs[CLASS], tmp_path / "cache", split="train")
    batch = next(iter(make_loader({"cache": str(tmp_path / "cache")}, CLASS, split="train", batch_size=6)))
    assert batch["labels"].tolist() == [int(name[2]) - 1 for name in batch["ids"]]


def test_fingerprint_is_of_the_encoding_weights_alone(codecs):
    codec = codecs[TEXT]
    same_in_bfloat16 = jax.tree.map(
        lambda x: x.astype(jnp.bfloat16) if jnp.issubdtype(x.dtype, jnp.floating) else x, codec
    )
    assert (
        codec_fingerprint(codec)
        == codec_fingerprint(same_in_bfloat16)
        == codec_fingerprint(random_network(VQGAN, TEXT.codec))
    )

    def changed(path):
        return codec_fingerprint(
            jax.tree_util.tree_map_with_path(
                lambda p, x: x + 1 if jax.tree_util.keystr(p).startswith(path) else x, codec
            )
        )

    assert changed(".decoder") == codec_fingerprint(codec)
    assert (
        len(
            {
                codec_fingerprint(codec),
                changed(".encoder.conv_in"),
                changed(".quantizer.codebook"),
                changed(".quant_conv"),
            }
        )
        == 4
    )


def test_a_wrong_cache_is_refused_in_one_line(write, codecs, tmp_path):
    write()
    replace = dataclasses.replace

    def refused(model, match, split="train", **options):
        with pytest.raises((DataError, FileNotFoundError), match=match) as error:
            make_loader({"cache": str(tmp_path / "cache")}, model, split=split, batch_size=2, **options)
        assert "\n" not in str(error.value)

    make_loader(
        {"cache": str(tmp_path / "cache")},
        TEXT,
        split="train",
        batch_size=2,
        codec_fingerprint=codec_fingerprint(codecs[TEXT]),
    )
    other = codec_fingerprint(random_network(VQGAN, TEXT.codec, seed=1))
    refused(TEXT, f"other weights .*this one's is {other[:12]}", codec_fingerprint=other)
    refused(CLASS, "tokens of 24 codes but the model has 16")
    refused(replace(TEXT, codec=replace(TEXT.codec, channels=16)), r"another codec \(channels 8, not 16\)")
    refused(
        replace(TEXT, tokenizer=replace(TEXT.tokenizer, pad_token=49407)),
        r"tokenizer settings \(pad_token 0, not 49407\)",
    )
    refused(TEXT, "manifest.json does not exist; .* --mode=tokenize", split="validation")
    for options, match in (
        ({"crops": 2}, "begun with other settings .crops 1, not 2"),
        ({"codec": random_network(VQGAN, TEXT.codec, seed=1)}, "begun with other settings .codec_fingerprint"),
        ({"codec": random_network(VQGAN, CLASS.codec)}, "codec is not the one that the model is configured for"),
    ):
        with pytest.raises(DataError, match=match):
            write(**options)
    (tmp_path / "cache" / "train" / "manifest.json").write_text("{}")
    refused(TEXT, "is not of a vqdiffusion_jax token cache")


def test_a_cache_carries_the_words_of_the_data_set(write, tmp_path, monkeypatch):
    """From there they go to the model that is trained on it."""
    words = KnownWords(("apple",), frozenset({"a"}), {"fruit": "apple"})
    monkeypatch.setattr("vqdiffusion_jax.data.sources.folder.Folder.known_words", words, raising=False)
    write(out="with")
    monkeypatch.undo()
    write(out="without")
    assert TokenCache(tmp_path / "without", "train", TEXT).known_words is None
    cache = TokenCache(tmp_path / "with", "train", TEXT)
    assert known_words_of(cache) == known_words_of(pickle.loads(pickle.dumps(cache))) == words
    assert known_words_of(Selection(cache, np.arange(2))) == words
