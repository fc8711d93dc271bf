"""Records without a caption are dropped, shown without a condition or refused; names that are no UTF-8 harm nothing."""

import json
import os

import numpy as np
import pytest

from tests.data import layouts
from vqdiffusion_jax.data import DataConfig, make_loader
from vqdiffusion_jax.data.missing import with_captions
from vqdiffusion_jax.data.sources import open_source
from vqdiffusion_jax.errors import ConfigError, DataError
from vqdiffusion_jax.presets import preset

TEXT = preset("tiny_text")


def loader(data, **settings):
    return make_loader(data, TEXT, **({"split": "train", "batch_size": 4, "seed": 1} | settings))


def read(iterator, batches):
    read = [next(iterator) for _ in range(batches)]
    iterator.close()
    return read


def ids_of(batches):
    return {name for batch in batches for name in batch["ids"].tolist()}


@pytest.fixture
def table(tmp_path):
    """Twelve pictures, of which three have no caption in their table."""
    root = layouts.folder(tmp_path / "table", 12, captions=False)
    rows = [{"image": f"{i:03d}.png", "caption": None if i % 4 == 1 else f"picture {i}"} for i in range(12)]
    layouts.put(root / "c.jsonl", "\n".join(map(json.dumps, rows)))
    return {"source": "folder", "root": str(root), "options": {"captions": "c.jsonl"}, "max_broken": 0}


@pytest.fixture
def sidecars(tmp_path):
    """Twelve pictures with a .txt each, of which three are blank or absent."""
    root = layouts.folder(tmp_path / "sidecars", 12)
    layouts.put(root / "001.txt", " \n")
    layouts.put(root / "005.txt", b"\xef\xbb\xbf")
    (root / "009.txt").unlink()
    return {"source": "folder", "root": str(root), "max_broken": 0}


WITHOUT = {"001.png", "005.png", "009.png"}


def test_dropped_records_are_left_out_of_the_data_set_where_that_is_known(table):
    made = loader(table)
    assert made.num_examples == 9
    iterator = iter(made)
    assert not ids_of(read(iterator, 9)) & WITHOUT and not iterator.broken
    account = made._batches._examples.source.account
    assert ("without a caption", 3, sorted(WITHOUT)) in list(account)


def test_dropped_records_are_replaced_and_no_limit_counts_them(sidecars):
    iterator = iter(loader(sidecars))
    batches = read(iterator, 9)
    assert not ids_of(batches) & WITHOUT and len(ids_of(batches)) == 9
    assert iterator.broken == dict.fromkeys(sorted(WITHOUT), "it has no caption") | iterator.broken
    assert iterator.broken.keys() == WITHOUT


@pytest.mark.parametrize("kind", ["table", "sidecars"])
def test_unconditional_records_have_the_empty_text(kind, request):
    data = request.getfixturevalue(kind) | {"missing_captions": "unconditional"}
    batches = read(iter(loader(data)), 6)
    assert ids_of(batches) == {f"{i:03d}.png" for i in range(12)}
    lengths = {
        name: int(mask.sum()) for batch in batches for name, mask in zip(batch["ids"].tolist(), batch["text_mask"])
    }
    assert {name for name, length in lengths.items() if length == 2} == WITHOUT  # start and end


@pytest.mark.parametrize("kind", ["table", "sidecars"])
def test_missing_captions_may_be_an_error(kind, request):
    data = request.getfixturevalue(kind) | {"missing_captions": "error"}
    with pytest.raises(DataError, match="no caption.*; give .*missing_captions") as error:
        read(iter(loader(data)), 9)
    assert "\n" not in str(error.value)


def test_a_set_without_any_caption_is_refused_at_once(tmp_path):
    root = layouts.folder(tmp_path, 3, captions=False)
    layouts.put(root / "c.csv", "image,caption\n000.png,\n001.png,nan\n002.png,  \n")
    with pytest.raises(DataError, match="3 of 3 examples have no caption"):
        loader({"source": "folder", "root": str(root), "options": {"captions": "c.csv"}}, batch_size=1)
    with pytest.raises(ConfigError, match="missing_captions is 'keep'; allowed: drop, unconditional, error"):
        DataConfig(source="folder", root=str(root), missing_captions="keep")


def test_a_set_that_begins_with_many_missing_captions_is_read(tmp_path):
    root = layouts.folder(tmp_path, 30)
    for number in range(20):
        (root / f"{number:03d}.txt").unlink()
    data = {"source": "folder", "root": str(root), "max_broken": 2}
    assert len(ids_of(read(iter(loader(data, batch_size=10)), 3))) == 10


def test_names_that_are_no_utf8_are_escaped_once(tmp_path):
    """Positions are stored as JSON, so that a name of other bytes would lose a checkpoint."""
    root = layouts.folder(tmp_path, 6)
    for number in range(3):
        name = os.fsencode(root) + b"/\xff\xfe%d.png" % number
        with open(name, "wb") as file:
            file.write(b"no picture")
        layouts.put(root / os.fsdecode(b"\xff\xfe%d.txt" % number), "a picture")
    good = os.fsdecode(b"\xe9.png")
    layouts.put(root / good, layouts.encoded(0))
    layouts.put(root / os.fsdecode(b"\xe9.txt"), "a caf\u00e9")
    iterator = iter(loader({"source": "folder", "root": str(root)}))
    batches = read(iterator, 6)
    assert iterator.broken.keys() == {rf"\xff\xfe{number}.png" for number in range(3)}
    assert r"\xe9.png" in ids_of(batches)
    assert json.loads(json.dumps(iterator.get_state(), ensure_ascii=False).encode())["broken"] == iterator.broken
    for split in ("train", "validation"):
        held = open_source(DataConfig(source="folder", root=str(root), validation_fraction=0.5), split)
        assert len(held) and all(isinstance(held.group(i), str) for i in range(len(held)))


def test_the_choice_of_captions_is_as_before(tmp_path):
    """The stream of random numbers does not depend on when captions are looked at."""
    data = {"source": "folder", "root": str(layouts.folder(tmp_path, 8)), "drop_rate": 0.3}
    one, two = (read(iter(loader(data | {"missing_captions": how})), 4) for how in ("drop", "unconditional"))
    for left, right in zip(one, two, strict=True):
        np.testing.assert_array_equal(left["text_ids"], right["text_ids"])
        np.testing.assert_array_equal(left["images"], right["images"])


def test_captions_that_are_missing_in_coco_are_named_by_their_pictures(tmp_path):
    root = layouts.coco(tmp_path / "coco")
    annotations = [{"image_id": 5, "caption": "a dog"}, {"image_id": 7, "caption": None}]
    layouts.put(root / "annotations" / "captions_train2014.json", json.dumps({"annotations": annotations}))
    config = DataConfig(source="coco", root=str(root))
    account = with_captions(open_source(config, "train"), config, TEXT).account
    assert account.names("without a caption") == ["COCO_train2014_000000000007.jpg#1"]
