"""Every layout is read as it is laid out, and mistakes are named in one line."""

import json
import pickle

import numpy as np
import pytest

from tests.data import layouts
from vqdiffusion_jax.config import from_dict
from vqdiffusion_jax.data.config import DataConfig
from vqdiffusion_jax.data.sources import open_source
from vqdiffusion_jax.data.transforms import decode
from vqdiffusion_jax.errors import BrokenRecord, ConfigError, DataError, PictureError


def opened(source, root, split="train", **fields):
    return open_source(DataConfig(source=source, root=str(root), **fields), split)


def captions(source):
    return [source[i]["captions"] for i in range(len(source))]


def refused(source, root, match, split="train", **fields):
    with pytest.raises((DataError, FileNotFoundError), match=match) as error:
        opened(source, root, split, **fields)
    assert "\n" not in str(error.value)


def test_folder_with_sidecars(tmp_path):
    source = opened("folder", layouts.folder(tmp_path / "data"))
    assert (
        len(source) == 8 and source[3]["id"] == "003.png" and source[3]["captions"] == ["Picture 3", "A drawing of 3"]
    )
    np.testing.assert_array_equal(np.asarray(decode(source[3]["image"])), layouts.pixels(3))


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_folder_with_a_captions_file(tmp_path, kind):
    root = layouts.folder(tmp_path / "data", captions=False)
    rows = [("001.png", "One"), ("000.png", 'Nought, "quoted"'), ("001.png", "Uno")]
    if kind == "jsonl":
        layouts.put(root / "c.jsonl", "".join(json.dumps({"file": a, "text": b}) + "\n" for a, b in rows))
    else:
        layouts.put(root / "c.csv", 'file,text\n001.png,One\n000.png,"Nought, ""quoted"""\n001.png,Uno\n')
    options = {"captions": f"c.{kind}", "image_field": "file", "caption_field": "text"}
    source = opened("folder", root, options=options)
    assert [source[i]["id"] for i in range(len(source))] == ["001.png", "000.png"]
    assert captions(source) == [["One", "Uno"], ['Nought, "quoted"']]
    refused(
        "folder",
        root,
        f"c.{kind}, line . has no field 'caption'; it has file, text",
        options=options | {"caption_field": "caption"},
    )
    refused("folder", root, "d.csv does not exist", options={"captions": "d.csv"})


def test_folder_with_splits_and_class_folders(tmp_path):
    for split, classes in (("train", "cab"), ("val", "ca")):
        for name in classes:
            layouts.folder(tmp_path / split / name, 2, captions=False)
    folders = {"options": {"labels": "folders"}}
    source = opened("folder", tmp_path, **folders)
    assert source.num_classes == 3 and [source[i]["label"] for i in range(6)] == [0, 0, 1, 1, 2, 2]
    held_out = opened("folder", tmp_path, "validation", **folders)  # without b
    assert held_out.num_classes == 3 and [held_out[i]["label"] for i in range(4)] == [0, 0, 2, 2]
    assert len(opened("folder", tmp_path, "validation")) == 4
    refused("folder", tmp_path, "splits of its own", validation_fraction=0.5)
    layouts.folder(tmp_path / "val" / "d", 1, captions=False)
    refused("folder", tmp_path, r"val: d is no class folder of .*train; rename or remove it", "validation", **folders)
    assert "label" not in opened("folder", tmp_path, "validation")[4]


def test_class_folders_that_a_captions_file_names(tmp_path):
    for split, names in (("train", ("a/1.png", "b/2.png", "c/3.png")), ("val", ("c/1.png", "a/2.png"))):
        layouts.put(tmp_path / split / "c.csv", "image,caption\n" + "".join(f"{name},a picture\n" for name in names))
        for name in names:
            layouts.put(tmp_path / split / name, layouts.encoded(0))
    source = opened("folder", tmp_path, "validation", options={"labels": "folders", "captions": "c.csv"})
    assert source.num_classes == 3 and [(source[i]["id"], source[i]["label"]) for i in range(2)] == [
        ("c/1.png", 2),
        ("a/2.png", 0),
    ]


def test_holding_out_is_stable_and_by_group(tmp_path):
    root = layouts.npz(tmp_path / "data")
    fields = {"options": {"group_field": "thing", "label_field": "kind"}, "validation_fraction": 0.4}
    train, held_out = opened("npz", root, **fields), opened("npz", root, "validation", **fields)
    seen = {name: {c[0] for c in captions(source)} for name, source in (("train", train), ("held out", held_out))}
    assert (
        len(train) + len(held_out) == 12 and seen["train"] and seen["held out"] and not seen["train"] & seen["held out"]
    )
    assert train.num_classes == 2 and {train[i]["label"] for i in range(len(train))} == {0, 1}
    refused("npz", root, "set validation_fraction to hold out some of its 12", "validation")


def test_npz_with_alpha_is_shown_on_white(tmp_path):
    pixels = np.array([[[[10, 20, 30, 255], [10, 20, 30, 0], [0, 0, 0, 128]]]], np.uint8)
    np.savez(tmp_path / "drawings.npz", images=pixels)
    shown = np.asarray(decode(opened("npz", tmp_path, options={"captions": ""})[0]["image"]))
    np.testing.assert_array_equal(shown, [[[10, 20, 30], [255, 255, 255], [127, 127, 127]]])


def test_npz_options(tmp_path):
    root = layouts.npz(tmp_path / "data")
    source = opened("npz", root, options={"caption_template": "{kind}: {caption}"})
    assert source[3]["captions"] == ["b: thing 1"]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(source))[5]["image"], layouts.pixels(5, (16, 16)))
    assert "captions" not in opened("npz", root, options={"captions": ""})[0]
    refused("npz", root, "has no field 'colour'; it has caption, thing, kind", options={"caption_template": "{colour}"})
    (root / "captions.jsonl").write_text('{"caption": "one"}\n')
    refused("npz", root, "has 1 lines but .* has 12 images")


def test_coco(tmp_path):
    root = layouts.coco(tmp_path)
    train = opened("coco", root)
    assert captions(train) == [["A photo 5 0"], ["A photo 5 1"], ["A photo 7 0"], ["A photo 7 1"]]
    assert train[2]["id"] == "COCO_train2014_000000000007.jpg#2" and decode(train[2]["image"]).size == layouts.SIZES[3]
    assert len(opened("coco", root, "validation")) == 2
    train_0 = train[0]
    (root / "train2014" / "train2014").rename(root / "moved")
    (root / "train2014").rmdir()
    (root / "moved").rename(root / "train2014")  # images directly in it
    assert opened("coco", root)[0] == train_0
    (root / "annotations" / "captions_train2014.json").write_text("[]")
    refused("coco", root, "is not a COCO captions file")


@pytest.mark.parametrize(("number", "told"), [("1.5", "1.5"), ("true", "True"), ("NaN", "nan")])
def test_a_number_of_coco_that_is_none_is_told(tmp_path, number, told):
    root = layouts.coco(tmp_path)
    file = root / "annotations" / "captions_train2014.json"
    file.write_text('{"annotations": [{"image_id": 5.0, "caption": "a"}, {"image_id": "7", "caption": "b"}]}')
    assert captions(opened("coco", root)) == [["a"], ["b"]]
    file.write_text(f'{{"annotations": [{{"image_id": {number}, "caption": "a"}}]}}')
    refused("coco", root, f"an image_id is {told}; it must be a whole number")


def test_cub200(tmp_path):
    root = layouts.cub200(tmp_path)
    assert captions(opened("cub200", root)) == [[f"This Bird is {i}", "a bird"] for i in range(3)]
    assert opened("cub200", root, "validation")[0]["id"] == "001.Bird/Bird_0003"


def test_imagenet(tmp_path):
    root = layouts.imagenet(tmp_path)
    source = opened("imagenet", root)
    assert source.num_classes == 3 and [source[i]["label"] for i in range(6)] == [0, 0, 1, 1, 2, 2]
    layouts.put(root / "ILSVRC2012_name_train.txt", "n03/n03_1.JPEG\nn01/n01_0.JPEG\n")
    listed = opened("imagenet", root)
    assert [(listed[i]["id"], listed[i]["label"]) for i in range(2)] == [("n03/n03_1.JPEG", 2), ("n01/n01_0.JPEG", 0)]
    assert len(opened("imagenet", root, "validation")) == 3
    layouts.put(root / "ILSVRC2012_name_train.txt", "n09/n09_1.JPEG\n")
    refused("imagenet", root, "n09 is no class folder")
    layouts.put(root / "val" / "astray.JPEG", b"")
    refused("imagenet", root, "astray.JPEG lies in no synset folder", "validation")


def test_ffhq(tmp_path):
    for i in range(2):
        layouts.folder(tmp_path / f"{i:02d}000", 3, captions=False)
    source = opened("ffhq", tmp_path)
    assert len(source) == 6 and set(source[0]) == {"id", "image"}
    layouts.put(tmp_path / ".hidden" / "x.png", b"")
    assert len(opened("ffhq", tmp_path)) == 6


@pytest.mark.parametrize("mats", [True, False])
def test_oxford102(tmp_path, mats):
    if mats:
        pytest.importorskip("scipy")
    source = opened("oxford102", layouts.oxford102(tmp_path, mats))
    if mats:
        assert [source[i]["label"] for i in range(len(source))] == [0, 1, 3, 4]  # all but the valid ones
        assert captions(opened("oxford102", tmp_path, "validation")) == [["flower 3"], ["flower 6"]]
    else:
        assert len(source) == 6 and captions(source)[0] == ["flower 1"] and "label" not in source[0]


def test_tar_shards(tmp_path):
    root = layouts.tar_shards(tmp_path / "data")
    source = opened("tar_shards", root)
    assert captions(source) == [[f"tar {shard} {i}"] for shard in range(2) for i in range(3)]
    assert source[4]["image"] == layouts.encoded(1, "JPEG") and source[4]["id"] == "00001.tar/000010001"
    assert pickle.loads(pickle.dumps(source))[4] == source[4]
    index = root / ".vqdiffusion_index.npz"
    made = index.stat().st_mtime_ns
    opened("tar_shards", root)
    assert index.stat().st_mtime_ns == made  # indexed once
    (root / "00000.tar").unlink()
    assert len(opened("tar_shards", root)) == 3  # and again when the shards changed
    shard = root / "00001.tar"
    shard.write_bytes(shard.read_bytes()[:700])
    with pytest.raises(BrokenRecord, match="ends before it"):
        source[3]
    refused("tar_shards", root, "is not a whole tar file")


def test_parquet(tmp_path):
    pytest.importorskip("pyarrow")
    root = layouts.parquet(tmp_path / "data")
    source = opened("parquet", root)
    assert captions(source) == [[f"parquet {shard} {i}"] for shard in range(2) for i in (0, 1, 2, 4)]
    again = pickle.loads(pickle.dumps(source))
    assert again[6]["image"] == layouts.encoded(2, "JPEG") and again[6]["id"] == "00001.parquet/1/0"
    refused(
        "parquet", root, "has no column pixels; it has key, caption, status, jpg", options={"image_column": "pixels"}
    )
    layouts.put(root / "00002.parquet", b"no parquet")
    kept = opened("parquet", root)
    assert len(kept) == 8 and "cannot be read as parquet" in kept.account.broken["00002.parquet"]
    refused("parquet", root, "1 files that cannot be read, more than max_broken=0.*: 00002.parquet: ", max_broken=0)


def test_tfds(tmp_path):
    pytest.importorskip("tensorflow_datasets")
    root = layouts.tfds(tmp_path)
    options = {"name": "tiny:1.0.0", "caption_field": "text", "label_field": "label", "validation_split": "train[60%:]"}
    source = opened("tfds", root, options=options)
    record = pickle.loads(pickle.dumps(source))[2]
    assert len(source) == 5 and source.num_classes == 3 and record["captions"] == ["TFDS 2"] and record["label"] == 2
    np.testing.assert_array_equal(decode(record["image"]), layouts.pixels(2))
    assert len(opened("tfds", root, "validation", options=options)) == 2
    with pytest.raises(PictureError, match="it is no picture"):
        decode(source[4]["image"])
    turned = decode(source[3]["image"])  # upright, as from every other source
    np.testing.assert_array_equal(turned, np.rot90(layouts.pixels(3), -1))
    refused("tfds", root, "TFDS cannot open nope", options={"name": "nope"})
    refused("tfds", root, "tiny has no feature words; it has", options={"name": "tiny", "caption_field": "words"})
    refused("tfds", root, "the option name is needed")


OWN = """\
import numpy as np


class Squares:
    def __init__(self, root, split, *, count=3):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return {"id": str(index), "image": np.full((8, 8, 3), index, np.uint8), "captions": ["a square"]}


class Endless:
    def __getitem__(self, index):
        return {}


squares = []
"""


def test_a_data_set_may_lie_elsewhere(tmp_path, monkeypatch):
    layouts.put(tmp_path / "own_sets" / "shapes.py", OWN)
    layouts.put(tmp_path / "own_sets" / "half.py", "import no_such_package\n")
    monkeypatch.syspath_prepend(tmp_path)
    source = pickle.loads(pickle.dumps(opened("own_sets.shapes:Squares", tmp_path, options={"count": 4})))
    assert len(source) == 4 and captions(source) == [["a square"]] * 4 and (source[3]["image"] == 3).all()
    for name, match in (
        (
            "own_sets.shapes:Circles",
            "cannot be imported .*no attribute 'Circles'.*; give package.module:Class, where Python finds it",
        ),
        ("own_sets.forms:Squares", "cannot be imported .*No module named 'own_sets.forms'"),
        ("own_sets.half:Squares", "cannot be imported .*No module named 'no_such_package'"),
        (":Squares", "cannot be imported "),
        ("own_sets.shapes:Endless", "is no data set: it has no __len__; see Source in"),
        ("own_sets.shapes:np.full", "cannot be imported "),
        ("own_sets.shapes:squares", "is no data set: it is no class"),
    ):
        refused(name, tmp_path, match)
    refused("own_sets.shapes:Squares", tmp_path, "Squares has no option size; known: count", options={"size": 1})


def test_mistakes_are_found_first(tmp_path):
    refused("coco", tmp_path / "nowhere", "nowhere does not exist")
    refused("coco", tmp_path, "captions_train2014.json does not exist")
    refused("ffhq", tmp_path, "has no example for train")
    refused("ffhq", tmp_path, "ffhq has no option flip; known: splits, links_out", options={"flip": True})
    refused("cub200", tmp_path, "cub200 has no option flip; known: none", options={"flip": True})
    refused("folder", tmp_path, "known: captions, image_field, caption_field, labels", options={"caption": "c.csv"})
    refused("ffhq", tmp_path, "split is 'test'; allowed: train, validation", "test")
    refused("tar_shards", tmp_path, "holds no .tar file")
    for table, match in (
        (
            {"source": "cocoo", "root": "x"},
            "DataConfig.source is 'cocoo'; allowed: coco, .*, or package.module:Class of your own",
        ),
        ({"source": "coco", "rot": "x"}, "unknown fields rot"),
        ({"source": "coco"}, "needs source and root"),
        ({"source": "coco", "root": "x", "drop_rate": 1.5}, "drop_rate is 1.5"),
        ({"source": "coco", "root": "x", "max_broken": -1}, "max_broken is -1"),
    ):
        with pytest.raises(ConfigError, match=match):
            from_dict(DataConfig, table, where="data")
