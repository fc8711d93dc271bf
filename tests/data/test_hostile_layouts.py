"""Lists, tables and packages that a data set brings along: none hangs, fills memory, or leads out of its folder."""

import json
import os
import pickle
import tarfile
import time
import zlib

import numpy as np
import pytest

from benchmarks._hostile_sources import packed
from tests.data import layouts
from vqdiffusion_jax.data.config import DataConfig
from vqdiffusion_jax.data.emoji import packages
from vqdiffusion_jax.data.sources import open_source, parquet
from vqdiffusion_jax.errors import DataError

PACKAGE = "thing@1.0.0"


def opened(source, root, **options):
    return open_source(DataConfig(source=source, root=str(root), options=options), "train")


def refused(match, source, root, **options):
    with pytest.raises((DataError, OSError), match=match) as caught:
        opened(source, root, **options)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("source", "file"), [("cub200", "train/filenames.pickle"), ("oxford102", "imagelabels.mat")], ids=str
)
def test_a_named_pipe_is_refused(tmp_path, source, file):
    if source == "oxford102":
        pytest.importorskip("scipy")
    root = getattr(layouts, source)(tmp_path)
    (root / file).unlink()
    os.mkfifo(root / file)
    refused("named pipe", source, root)


@pytest.mark.parametrize("name", ["../../secret", "/secret", "a/../../secret"])
def test_a_list_names_nothing_outside_of_the_folder(tmp_path, name):
    root = layouts.cub200(tmp_path / "cub200")
    layouts.put(root / "train" / "filenames.pickle", pickle.dumps([name]))
    refused("leads out of the data folder", "cub200", root)
    root = layouts.imagenet(tmp_path / "imagenet")
    layouts.put(root / "ILSVRC2012_name_train.txt", f"{name}.JPEG\n")
    refused("leads out of the data folder", "imagenet", root)


@pytest.mark.parametrize("labels", [["text"], {"a": 1}, None], ids=["text", "table", "none"])
def test_labels_that_are_no_numbers(tmp_path, labels):
    io = pytest.importorskip("scipy.io")
    root = layouts.oxford102(tmp_path)
    io.savemat(root / "imagelabels.mat", {} if labels is None else {"labels": labels})
    refused("holds no variable 'labels' that can be read", "oxford102", root)


def test_a_packed_table_of_labels_fills_no_memory(tmp_path):
    io = pytest.importorskip("scipy.io")
    root = layouts.oxford102(tmp_path)
    numbers = np.random.default_rng(0).random(10**5)
    io.savemat(root / "imagelabels.mat", {"labels": np.zeros((1, 10**6)), "more": numbers})
    refused("at most 262144 are read", "oxford102", root)


def test_a_picture_without_a_number(tmp_path):
    pytest.importorskip("scipy")
    layouts.put(layouts.oxford102(tmp_path) / "jpg" / "image_00000.jpg", layouts.encoded(0, "JPEG"))
    refused("image_00000.jpg is not named", "oxford102", tmp_path)


def test_a_name_with_control_characters_is_told_printably(tmp_path):
    layouts.put(layouts.oxford102(tmp_path, mats=False) / "jpg" / "a\x1b[31m\nb.jpg", layouts.encoded(0, "JPEG"))
    refused(r"a\\x1b\[31m b.jpg is not named", "oxford102", tmp_path)


@pytest.mark.parametrize("kinds", [["a", 1], [["a"], ["b"]], [{}, {}], [None, "a"]], ids=str)
def test_classes_of_several_kinds(tmp_path, kinds):
    np.savez(tmp_path / "pictures.npz", images=np.zeros((2, 8, 8, 3), np.uint8))
    rows = [json.dumps({"caption": "a", "kind": kind}) for kind in kinds]
    layouts.put(tmp_path / "captions.jsonl", "\n".join(rows))
    refused("'kind' holds values of several kinds", "npz", tmp_path, label_field="kind")


@pytest.mark.parametrize(
    ("columns", "match"),
    [
        (lambda pa: {"image": pa.nulls(10**7)}, "promises 10,000,000 rows and has"),
        (lambda pa: {"image": pa.array([bytes(2**20)] * 5)}, "a row group of it unpacks to 5,"),
    ],
    ids=["missing rows", "packed pictures"],
)
def test_a_small_parquet_file_fills_no_memory(tmp_path, columns, match, monkeypatch):
    monkeypatch.setattr(parquet, "_MOST_BYTES", 2**20)
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    file = tmp_path / "a.parquet"
    pq.write_table(pa.table(columns(pa)), file, compression="zstd", row_group_size=10**7, use_dictionary=False)
    assert file.stat().st_size < 2**20
    with pytest.raises(DataError, match=match):
        open_source(DataConfig(source="parquet", root=str(tmp_path), max_broken=0), "train")


def bomb():
    """A small file that unpacks to 20 MiB and promises more."""
    info = tarfile.TarInfo("package/data.json")
    info.size = packages.MOST_UNPACKED + 1
    packer = zlib.compressobj(9, wbits=31)
    begin = packer.compress(info.tobuf())
    return begin + b"".join(packer.compress(bytes(2**20)) for _ in range(20)) + packer.flush()


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (bomb, "it unpacks to more than 16 MiB"),
        (lambda: b"no tarball", "cannot be read"),
        (lambda: packed({"package/data.json": b"{}"})[:-30], "cannot be read"),
        (lambda: packed({"package/other.json": b"{}"}), "has 0 files data.json"),
        (lambda: packed({"package/data.json": b"{"}), "is no JSON"),
        (lambda: packed({"package/data.json": b"\xff"}), "is no UTF-8"),
        (lambda: packed({"package/data.json": b"[" * 10_000}), "nested more than"),
    ],
    ids=["bomb", "no tarball", "cut", "absent", "no JSON", "no text", "deep"],
)
def test_a_damaged_package_of_drawings(tmp_path, data, match, monkeypatch):
    monkeypatch.setattr(packages, "MOST_UNPACKED", 2**24)
    path = tmp_path / packages.tarball(PACKAGE)
    path.write_bytes(data())
    begun = time.process_time()
    with pytest.raises(DataError, match=match) as caught:
        packages.read_json(tmp_path, PACKAGE, "data.json")
    assert str(path) in str(caught.value) and str(caught.value).isprintable()
    assert time.process_time() - begun < 10
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(DataError, match="named pipe"):
        packages.read_json(tmp_path, PACKAGE, "data.json")


def test_a_whole_package_of_drawings(tmp_path):
    files = {"package/a.json": b"[1]", "package/b/data.json": b'{"a": 1}', "package/data.txt": b"x"}
    (tmp_path / packages.tarball(PACKAGE)).write_bytes(packed(files))
    assert packages.read_json(tmp_path, PACKAGE, "data.json") == {"a": 1}
    assert packages.read_files(tmp_path, PACKAGE, ".json") == {"a.json": b"[1]", "data.json": b'{"a": 1}'}
