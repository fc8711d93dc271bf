"""Pictures of a folder are each listed once, and what is left out is named."""

import os
import tarfile

import numpy as np
import pytest
from PIL import Image

from tests.data import layouts
from vqdiffusion_jax.data.account import Account
from vqdiffusion_jax.data.config import DataConfig
from vqdiffusion_jax.data.listing import picture_files
from vqdiffusion_jax.data.sources import open_source
from vqdiffusion_jax.data.sources.class_folders import ordered
from vqdiffusion_jax.data.summary import summary
from vqdiffusion_jax.errors import DataError


def opened(source, root, split="train", **fields):
    return open_source(DataConfig(source=source, root=str(root), **fields), split)


def ids(source):
    return [source[i]["id"] for i in range(len(source))]


def left_out(account):
    return {reason: (count, names) for reason, count, names in account}


def test_endings_in_any_case_and_names_of_any_bytes(tmp_path):
    for name in ("a.JPG", "b.jfif", "c.avif", "d.Webp", "e.TIFF"):
        layouts.put(tmp_path / name, layouts.encoded(0))
    with open(os.fsencode(tmp_path) + b"/\xff.png", "wb") as file:
        file.write(layouts.encoded(0))
    account = Account()
    assert picture_files(tmp_path, account) == ["a.JPG", "b.jfif", "c.avif", "d.Webp", "e.TIFF", "\udcff.png"]
    assert not account
    source = opened("folder", tmp_path, validation_fraction=0.5)
    ids(source)[0].encode()


def test_a_link_to_a_folder_that_is_read_is_not_followed(tmp_path):
    layouts.folder(tmp_path / "z", 2, captions=False)
    for name, target in (("a", "."), ("b", "."), ("c", "z"), ("z/d", "..")):
        os.symlink(target, tmp_path / name)
    source = opened("folder", tmp_path)
    assert ids(source) == ["z/000.png", "z/001.png"]
    assert left_out(source.account) == {"a link to a folder that is read already": (4, ["a", "b", "c", "z/d"])}


def test_no_link_leads_to_another_split_or_to_a_folder_twice(tmp_path):
    for split in ("train", "val", "test", "store/cats"):
        layouts.folder(tmp_path / split, 2, captions=False)
    for name, target in (("up", ".."), ("t", "../test"), ("v", "../val"), ("deep/cats", "../../store/cats")):
        (tmp_path / "train" / name).parent.mkdir(exist_ok=True)
        os.symlink(target, tmp_path / "train" / name)
    source = opened("folder", tmp_path)
    assert ids(source) == ["000.png", "001.png", "deep/cats/000.png", "deep/cats/001.png"]
    told = left_out(source.account)
    assert told["a link to a folder that is read already"] == (1, ["train/up"])
    assert told["a link to a folder of another split"] == (2, ["train/t", "train/v"])
    assert len(opened("folder", tmp_path, "validation")) == 2
    layouts.folder(tmp_path / "elsewhere" / "data" / "inner", 1, captions=False)
    root = layouts.folder(tmp_path / "elsewhere" / "data", 1, captions=False)
    os.symlink("..", root / "out")  # whose own folders are those that are read
    assert ids(opened("folder", root, options={"links_out": True})) == ["000.png", "inner/000.png"]


def test_texts_beside_pictures_in_any_case_and_other_files_beside_them(tmp_path):
    for name in ("a.png", "b.JPG"):
        layouts.put(tmp_path / name, layouts.encoded(0))
    for name in ("a.TXT", "b.Caption", "b.CAPTION", "a.json", "b.xml"):
        layouts.put(tmp_path / name, "words")
    source = opened("folder", tmp_path)
    assert [source[i]["captions"] for i in range(2)] == [["words"], ["words"]]
    assert left_out(source.account) == {
        "beside a picture but not read, .json": (1, ["a.json"]),
        "beside a picture but not read, .xml": (1, ["b.xml"]),
        "beside a picture but not read, .caption": (1, ["b.Caption"]),
    }


def test_links_out_of_the_data_folder_are_refused_unless_asked_for(tmp_path):
    layouts.folder(tmp_path / "elsewhere", 2)
    root = layouts.folder(tmp_path / "data", 1)
    for name, target in (("pictures", "elsewhere"), ("7.png", "elsewhere/001.png")):
        os.symlink(tmp_path / target, root / name)
        with pytest.raises(DataError, match=rf"{name} leads out of the data folder, to .*elsewhere.*links_out=True"):
            opened("folder", root)
        assert len(opened("folder", root, options={"links_out": True})) == {"pictures": 3, "7.png": 2}[name]
        (root / name).unlink()
    (root / "000.txt").unlink()
    os.symlink(tmp_path / "elsewhere" / "000.txt", root / "000.txt")
    with pytest.raises(DataError, match=r"000\.txt leads out of the data folder"):
        opened("folder", root)
    layouts.put(root / "c.csv", "image,caption\n../elsewhere/000.png,a picture\n")
    (root / "000.txt").unlink()
    with pytest.raises(DataError, match=r"\.\./elsewhere/000\.png leads out of the data folder"):
        opened("folder", root, options={"captions": "c.csv"})


def test_what_is_no_picture_is_named(tmp_path):
    layouts.folder(tmp_path, 1)
    os.mkfifo(tmp_path / "pipe.png")
    os.symlink("nowhere", tmp_path / "dangling.png")
    os.symlink("loop.png", tmp_path / "loop.png")
    for name in ("._a.png", "Thumbs.db", "phone.HEIC", "alone.txt", "README.md", "@eaDir/t.png", ".git/x.png"):
        layouts.put(tmp_path / name, b"x")
    (tmp_path / "empty").mkdir()
    source = opened("folder", tmp_path)
    assert ids(source) == ["000.png"]
    assert {reason: sorted(names) for reason, (_, names) in left_out(source.account).items()} == {
        "a named pipe, no regular file": ["pipe.png"],
        "a link to nothing": ["dangling.png", "loop.png"],
        "a hidden or foreign file": ["._a.png", "Thumbs.db"],
        "a hidden or foreign folder": [".git", "@eaDir"],
        "in a format that is not read, .heic": ["phone.HEIC"],
        "a text without a picture": ["alone.txt"],
        "no picture by its ending": ["README.md"],
        "an empty folder": ["empty"],
    }
    lines = summary(source, "here", "train")
    assert lines[0] == "data: here, train: 1 examples, 2 captions a picture" and len(lines) == 9


def test_sheets_and_animations_of_this_package_are_no_samples(tmp_path):
    for name in ("000000", "000001", "grid-000000", "contact-sheet", "grid-lines"):
        layouts.put(tmp_path / f"{name}.png", layouts.encoded(0))
    for name in ("000000.gif", "cartoon.gif"):
        layouts.put(tmp_path / name, layouts.encoded(0, "GIF"))
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    for name in ("000001.webp", "cartoon.webp"):  # --trajectory_format=webp
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "grid-lines.webp")  # a still one is a picture
    source = opened("folder", tmp_path)
    pictures = ["000000.png", "000001.png", "cartoon.gif", "cartoon.webp", "grid-lines.png", "grid-lines.webp"]
    assert ids(source) == pictures
    assert sorted(name for _, names in left_out(source.account).values() for name in names) == [
        "000000.gif",
        "000001.webp",
        "contact-sheet.png",
        "grid-000000.png",
    ]


@pytest.mark.parametrize("form", ["gif", "webp"])
def test_a_still_picture_beside_a_png_of_its_name_is_a_picture(tmp_path, form):
    still, frames = Image.new("L", (8, 8)), [Image.new("L", (8, 8), grey) for grey in (0, 255)]
    for name in ("000000", "moving", "mine", "drawn", "cut"):
        layouts.put(tmp_path / f"{name}.png", layouts.encoded(0))
        still.save(tmp_path / f"{name}.{form}")
    layouts.put(tmp_path / "drawn.json", "{}")  # a run wrote it beside its pictures
    frames[0].save(tmp_path / f"moving.{form}", save_all=True, append_images=frames[1:])
    (tmp_path / f"cut.{form}").write_bytes((tmp_path / f"moving.{form}").read_bytes()[:20])
    source = opened("folder", tmp_path)
    kept = [
        f"cut.{form}",
        "cut.png",
        "drawn.png",
        f"mine.{form}",
        "mine.png",
        "moving.png",
    ]  # what is cut is told later
    assert ids(source) == sorted(["000000.png", *kept])
    assert {reason: sorted(names) for reason, (_, names) in left_out(source.account).items()} == {
        "an animation beside a picture of the same name": [f"moving.{form}"],
        "a still animation that a run wrote beside its picture": [f"000000.{form}", f"drawn.{form}"],
        "beside a picture but not read, .json": ["drawn.json"],
    }


@pytest.mark.parametrize("given", ["run", "run/samples"])
def test_sheets_that_training_wrote_are_no_samples(tmp_path, given):
    run = tmp_path / "run"
    for name in ("samples/00000100.png", "samples/00000200.png", "samples/mine.png", "samples/000001.png"):
        layouts.put(run / name, layouts.encoded(0))
    begin = "" if given.endswith("samples") else "samples/"
    everything = [f"{begin}{name}.png" for name in ("000001", "00000100", "00000200", "mine")]
    assert ids(opened("folder", tmp_path / given)) == everything  # numbers of eight digits alone say nothing
    for name in ("config.json", "metrics.jsonl"):
        layouts.put(run / name, "{}")
    source = opened("folder", tmp_path / given)
    assert ids(source) == [everything[0], everything[-1]]
    names = [f"{begin}00000100.png", f"{begin}00000200.png"]
    assert sorted(left_out(source.account)["a sheet of pictures that training wrote"][1]) == names


@pytest.mark.parametrize("kind", ["file", "pipe"])
def test_a_root_that_is_no_folder_is_refused(tmp_path, kind):
    root = tmp_path / "root"
    layouts.put(root, b"x") if kind == "file" else os.mkfifo(root)
    for source in ("folder", "ffhq"):
        with pytest.raises(DataError, match=rf"root is a (named )?{kind}; a folder is needed"):
            opened(source, root)


def test_class_folders_are_in_the_order_of_their_numbers():
    assert ordered(["10", "9", "0"]) == ["0", "9", "10"]
    assert ordered(["class10", "class2"]) == ["class2", "class10"]
    assert ordered(["10_dog", "2_cat"]) == ["2_cat", "10_dog"]
    assert ordered(["b10", "a2", "a10"]) == ["a10", "a2", "b10"]  # not numbered alike: as text
    assert ordered(["1", "01", "cat"]) == ["01", "1", "cat"]
    assert ordered(["n02", "n01"]) == ["n01", "n02"]


@pytest.mark.parametrize("source", ["folder", "imagenet"])
def test_empty_and_foreign_folders_move_no_label(tmp_path, source):
    for split in ("train", "val"):
        for name in ("n02", "n10"):
            layouts.put(tmp_path / split / name / "1.JPEG", layouts.encoded(0, "JPEG"))
        for name in (".ipynb_checkpoints", "__MACOSX", "@eaDir", "n01"):
            (tmp_path / split / name).mkdir()
    layouts.put(tmp_path / "train" / "__MACOSX" / "1.JPEG", b"x")
    options = {"labels": "folders"} if source == "folder" else {}
    for split in ("train", "validation"):
        found = opened(source, tmp_path, split, options=options)
        assert found.classes == ("n02", "n10") and [found[i]["label"] for i in range(2)] == [0, 1]
    names = [
        name for _, (_, shown) in left_out(opened(source, tmp_path, options=options).account).items() for name in shown
    ]
    assert any("n01" in name for name in names) and any("__MACOSX" in name for name in names)


def test_class_folders_that_may_not_be_the_classes_are_noted(tmp_path):
    def notes(name, *pictures):
        for picture in pictures:
            layouts.put(tmp_path / name / picture, layouts.encoded(0))
        return opened("folder", tmp_path / name, options={"labels": "folders"}).account.notes

    (note,) = notes("wrapped", "data/cat/1.png", "data/dog/1.png")
    assert "the folders in it, cat, dog, set root to it" in note
    (note,) = notes("alike", "cat/1.png", "Cat/2.png", "dog/1.png")
    assert "Cat, cat differ in capitals" in note
    (note,) = notes("accents", "caf\u00e9/1.png", "cafe\u0301/2.png")
    assert "forms of accents" in note
    assert notes("plain", "cat/1.png", "cat/more/2.png", "dog/1.png") == [] == notes("one", "cat/1.png")


def test_folders_of_splits_at_any_depth(tmp_path):
    for name in ("cat/train", "cat/test", "dog/train", "dog/test"):
        layouts.folder(tmp_path / "deep" / name, 1)
    source = opened("folder", tmp_path / "deep", options={"labels": "folders"})
    assert ids(source) == ["cat/train/000.png", "dog/train/000.png"] and source.classes == ("cat", "dog")
    for name in ("trainA", "trainB", "testA"):
        layouts.folder(tmp_path / "two" / name, 1)
    assert ids(opened("ffhq", tmp_path / "two")) == ["trainA/000.png", "trainB/000.png"]
    layouts.folder(tmp_path / "alone" / "train" / "cat", 1)
    layouts.folder(tmp_path / "alone" / "train" / "dog", 1)
    alone = opened("folder", tmp_path / "alone", options={"labels": "folders"}, validation_fraction=0.0)
    assert alone.classes == ("cat", "dog") and not alone.has_splits
    for name in ("seg_train/seg_train/cat", "seg_train/seg_train/train", "seg_test/seg_test/cat"):
        layouts.folder(tmp_path / "twice" / name, 1)
    assert opened("folder", tmp_path / "twice", options={"labels": "folders"}).classes == ("cat", "train")
    for name in ("train_1", "train_2", "test_1"):
        layouts.put(tmp_path / "flat" / f"{name}.png", layouts.encoded(0))
    assert ids(opened("folder", tmp_path / "flat")) == ["train_1.png", "train_2.png"]
    layouts.put(tmp_path / "flat" / "portrait.png", layouts.encoded(0))
    assert len(opened("folder", tmp_path / "flat")) == 4


def test_splits_of_a_captions_file(tmp_path):
    layouts.folder(tmp_path, 3, captions=False)
    layouts.put(tmp_path / "c.csv", "image,caption,Split\n000.png,a,train\n001.png,b,test\n")
    source = opened("folder", tmp_path, options={"captions": "c.csv"})
    assert ids(source) == ["000.png"] and left_out(source.account)["not named in c.csv"] == (1, ["002.png"])
    assert ids(opened("folder", tmp_path, "validation", options={"captions": "c.csv"})) == ["001.png"]
    layouts.put(tmp_path / "c.csv", "image,caption,split\n000.png,a,train\n001.png,b,\n")
    with pytest.raises(DataError, match="c.csv, its column split: which part is for training is unclear"):
        opened("folder", tmp_path, options={"captions": "c.csv"})
    rows = "image,caption,split\n000.png,a,train\n000.png,b,\n001.png,c,val\n002.png,d,test\n"
    layouts.put(tmp_path / "c.csv", rows)
    source = opened("folder", tmp_path, options={"captions": "c.csv"})
    assert ids(source) == ["000.png"] and left_out(source.account) == {"of the test split": (1, ["002.png"])}
    layouts.put(tmp_path / "c.csv", rows + "002.png,e,train\n")
    with pytest.raises(DataError, match=r"line 6 has '002.png' in the split 'train', an earlier line in 'test'"):
        opened("folder", tmp_path, options={"captions": "c.csv"})


def test_splits_that_only_later_rows_of_a_captions_file_tell(tmp_path):
    layouts.folder(tmp_path, 2, captions=False)
    rows = '{"image": "000.png", "caption": "a"}\n{"image": "001.png", "caption": "b", "split": "test"}\n'
    layouts.put(tmp_path / "c.jsonl", rows)
    with pytest.raises(DataError, match="c.jsonl, its column split: which part is for training is unclear"):
        opened("folder", tmp_path, options={"captions": "c.jsonl"})
    layouts.put(tmp_path / "c.jsonl", rows + '{"image": "000.png", "caption": "c", "split": "train"}\n')
    assert ids(opened("folder", tmp_path, options={"captions": "c.jsonl"})) == ["000.png"]


@pytest.mark.parametrize(("name", "fault"), [("\\u0000.png", "a null character"), ("\\ud800.png", "half a character")])
def test_a_name_that_no_file_can_have_is_told_with_its_line(tmp_path, name, fault):
    layouts.folder(tmp_path, 1, captions=False)
    layouts.put(
        tmp_path / "c.jsonl", f'{{"image": "000.png", "caption": "a"}}\n{{"image": "{name}", "caption": "b"}}\n'
    )
    with pytest.raises(DataError, match=f"c.jsonl, line 2 names the picture .*, whose name has {fault}"):
        opened("folder", tmp_path, options={"captions": "c.jsonl"})


def test_one_captions_file_for_all_splits(tmp_path):
    for split in ("train", "val"):
        layouts.folder(tmp_path / split, 2, captions=False)
    layouts.put(
        tmp_path / "c.csv",
        "image,caption\n" + "".join(f"{s}/00{i}.png,{s} {i}\n" for s in ("train", "val") for i in (0, 1)),
    )
    source = opened("folder", tmp_path, options={"captions": "c.csv"})
    assert ids(source) == ["train/000.png", "train/001.png"] and source[1]["captions"] == ["train 1"]
    assert ids(opened("folder", tmp_path, "validation", options={"captions": "c.csv"})) == [
        "val/000.png",
        "val/001.png",
    ]


def shard(path, members):
    """Write a tar file; a member is (name, bytes), or (name, TarInfo type, link name)."""
    import io

    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, *what in members:
            info = tarfile.TarInfo(name)
            if isinstance(what[0], bytes) and len(what) == 1:
                info.size = len(what[0])
                tar.addfile(info, io.BytesIO(what[0]))
            else:
                info.type, info.linkname = what
                tar.addfile(info)


def test_names_in_shards(tmp_path):
    picture = layouts.encoded(0)
    shard(
        tmp_path / "0.tar",
        [
            *(("a.png", picture), ("a.txt", b"plain"), ("a.seg.png", picture)),
            *(("b.photo.PNG", picture), ("b.txt", b"one picture of two parts")),
            *(
                ("my.first.png", picture),
                ("my.first.txt", b"first"),
                ("my.second.png", picture),
                ("my.second.txt", b"second"),
            ),
            *(("c.left.png", picture), ("c.right.png", picture), ("c.txt", b"of which?")),
            *(("k.input.png", picture), ("k.caption.txt", b"by its name"), ("k.licence.txt", b"free")),
            *(("l.PNG", picture), ("l.png.txt", b"by the picture's"), ("l.cls", b"3")),
            *(("m.png", picture), ("m.meta.json", b"{}"), ("m.captions.json", b'["one", "two"]')),
            *(("n.png", picture), ("n.licence.txt", b"free")),
            *(("d.txt", b"nothing"), ("._a.png", b"x"), ("../e.png", picture), ("../e.txt", b"above")),
            *(("f.png", tarfile.LNKTYPE, "a.png"), ("f.txt", b"hard link")),
            *(
                ("g.png", tarfile.SYMTYPE, "/etc/passwd"),
                ("h.png", tarfile.FIFOTYPE, ""),
                ("i.png", tarfile.CHRTYPE, ""),
            ),
        ],
    )
    source = opened("tar_shards", tmp_path)
    said = {source[i]["id"]: source[i]["captions"] for i in range(len(source))}
    assert said == {
        "0.tar/a": ["plain"],
        "0.tar/b": ["one picture of two parts"],
        "0.tar/my.first": ["first"],
        "0.tar/my.second": ["second"],
        "0.tar/../e": ["above"],
        "0.tar/f": ["hard link"],
        "0.tar/k": ["by its name"],
        "0.tar/l": ["by the picture's"],
        "0.tar/m": ["one", "two"],
        "0.tar/n": [],
    }
    assert all(source[i]["image"] == picture for i in range(len(source)))
    assert left_out(source.account) == {
        "a hidden or foreign file": (1, ["0.tar/._a.png"]),
        "a link, a device or a file with holes in a shard": (3, ["0.tar/g.png", "0.tar/h.png", "0.tar/i.png"]),
        "a further picture of an example": (3, ["0.tar/a.seg.png", "0.tar/c.left.png", "0.tar/c.right.png"]),
        "a file that belongs to no picture": (2, ["0.tar/c.txt", "0.tar/d.txt"]),
        "beside a picture but not read, .txt": (2, ["0.tar/k.licence.txt", "0.tar/n.licence.txt"]),
        "beside a picture but not read, .cls": (1, ["0.tar/l.cls"]),
        "beside a picture but not read, .json": (1, ["0.tar/m.meta.json"]),
    }
    again = opened("tar_shards", tmp_path)  # by the index
    assert left_out(again.account) == left_out(source.account) and again[3] == source[3]


def test_splits_of_shards(tmp_path):
    for name in ("train_0001", "train_0002", "test_0001"):
        shard(tmp_path / f"{name}.tar", [("0.png", layouts.encoded(0)), ("0.txt", name.encode())])
    assert ids(opened("tar_shards", tmp_path)) == ["train_0001.tar/0", "train_0002.tar/0"]
    assert ids(opened("tar_shards", tmp_path, "validation")) == ["test_0001.tar/0"]
    assert len(opened("tar_shards", tmp_path, options={"splits": "none"})) == 3
    shard(tmp_path / "extra.tar", [("0.png", layouts.encoded(0))])
    assert left_out(opened("tar_shards", tmp_path).account)["of no split"] == (1, ["extra"])


def test_a_shard_may_be_a_link_and_a_folder_of_shards_only_if_asked(tmp_path):
    layouts.tar_shards(tmp_path / "blobs")
    (tmp_path / "data").mkdir()
    os.symlink(tmp_path / "blobs" / "00000.tar", tmp_path / "data" / "0.tar")
    assert len(opened("tar_shards", tmp_path / "data")) == 3
    (tmp_path / "data" / "0.tar").unlink()
    os.symlink(tmp_path / "blobs", tmp_path / "data" / "shards")
    with pytest.raises(DataError, match="shards leads out of the data folder"):
        opened("tar_shards", tmp_path / "data")
    assert len(opened("tar_shards", tmp_path / "data", options={"links_out": True})) == 6


def test_a_truncated_shard_gives_what_it_holds(tmp_path):
    root = layouts.tar_shards(tmp_path)
    path = root / "00001.tar"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    source = opened("tar_shards", root)
    assert 3 < len(source) < 6 and "00001.tar is not a whole tar file" in source.account.notes[0]
    path.write_bytes(b"no tar file at all" * 100)
    source = opened("tar_shards", root)
    assert len(source) == 3 and "not a whole tar file" in source.account.broken["00001.tar"]
    with pytest.raises(DataError, match="1 files that cannot be read, more than max_broken=0"):
        opened("tar_shards", root, max_broken=0)
    path.unlink()
    os.mkfifo(path)
    assert "named pipe" in opened("tar_shards", root).account.broken["00001.tar"]


def test_damaged_shards_and_indices_end_in_one_line_or_are_read(tmp_path):
    root = layouts.tar_shards(tmp_path)
    index, path = root / ".vqdiffusion_index.npz", root / "00001.tar"
    assert len(opened("tar_shards", root)) == 6
    good, whole = index.read_bytes(), path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(good)
        if rng.random() < 0.3:
            damaged = damaged[: rng.integers(len(damaged))]
        for place in rng.integers(0, max(len(damaged), 1), 3):
            if damaged:
                damaged[place] = rng.integers(256)
        index.write_bytes(damaged)
        assert len(opened("tar_shards", root)) == 6
    for _ in range(60):
        damaged = bytearray(whole)
        for place in rng.integers(0, 512, 4):  # the first header
            damaged[int(place) + 512 * int(rng.integers(2))] = rng.integers(256)
        path.write_bytes(damaged)
        source = opened("tar_shards", root)
        for i in range(len(source)):
            try:
                source[i]
            except ValueError as error:
                assert "\n" not in str(error)


def test_splits_of_parquet_files(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    picture = layouts.encoded(0)

    def write(path, captions, **columns):
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"image": [picture] * len(captions), "TEXT": captions, **columns}), path)

    def captions(*args, **fields):
        source = opened("parquet", *args, **fields)
        return [source[i]["captions"] for i in range(len(source))]

    for part in ("train", "validation", "test"):
        write(tmp_path / "hub" / "data" / f"{part}-00000-of-00001.parquet", [part])
    assert captions(tmp_path / "hub") == [["train"]] and captions(tmp_path / "hub", "validation") == [["validation"]]
    write(tmp_path / "column" / "0.parquet", ["a", "b", "c"], split=["train", "test", "train"])
    assert captions(tmp_path / "column") == [["a"], ["c"]] and captions(tmp_path / "column", "validation") == [["b"]]
    assert len(captions(tmp_path / "column", options={"splits": "none"})) == 3
    write(tmp_path / "empty" / "0.parquet", ["a", "b", "c", "d"], Split=["Train", "VAL", None, None])
    assert left_out(opened("parquet", tmp_path / "empty").account) == {"of no split": (2, ["rows of '.'"])}
    write(tmp_path / "numbers" / "0.parquet", ["a", "b"], split=["0", "1"])
    with pytest.raises(DataError, match="column split: which part is for training is unclear; found 0, 1"):
        captions(tmp_path / "numbers")
    said = {"split_column": "split", "splits": {"train": "0", "validation": "1"}}
    assert captions(tmp_path / "numbers", options=said) == [["a"]]
    write(tmp_path / "other" / "0.parquet", ["a", "b"], subset=["web", "books"])
    assert len(captions(tmp_path / "other")) == 2


def test_coco_of_2017(tmp_path):
    import json

    for phase, number in (("train", 5), ("val", 9)):
        table = {"annotations": [{"image_id": number, "caption": f"photo {number}"}]}
        layouts.put(tmp_path / "annotations" / f"captions_{phase}2017.json", json.dumps(table))
        layouts.put(tmp_path / f"{phase}2017" / f"{number:012d}.jpg", layouts.encoded(number, "JPEG"))
    layouts.put(tmp_path / "train2017" / "000000000006.jpg", layouts.encoded(6, "JPEG"))
    source = opened("coco", tmp_path)
    assert ids(source) == ["000000000005.jpg#0"] and source[0]["captions"] == ["photo 5"]
    assert left_out(source.account) == {"an image without a caption": (1, ["000000000006.jpg"])}
    assert ids(opened("coco", tmp_path, "validation")) == ["000000000009.jpg#0"]
    layouts.put(tmp_path / "annotations" / "captions_val2014.json", "{}")  # of another division of the images
    assert ids(opened("coco", tmp_path, "validation")) == ["000000000009.jpg#0"]
