"""Folders of buckets, read and written by way of copies here."""

import errno
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.storage.buckets import names, new_folder, put, read
from vqdiffusion_jax.errors import StorageError
from vqdiffusion_jax.files import write_whole
from vqdiffusion_jax.storage import mark
from vqdiffusion_jax.storage.copies import here
from vqdiffusion_jax.storage.folders import written
from vqdiffusion_jax.storage.mark import MARK
from vqdiffusion_jax.storage.scratch import as_typed
from vqdiffusion_jax.storage.seals import seal_of
from vqdiffusion_jax.storage.stored_folder import StoredFolder
from vqdiffusion_jax.storage.transfer import PROBE, Objects
from vqdiffusion_jax.user_files import read_text


def test_what_is_written_is_there_and_what_is_half_written_is_not(folder):
    with written(folder) as out:
        (out.folder / "sub").mkdir()
        (out.folder / "sub" / "one.txt").write_text("one")
        with write_whole(out.folder / "sub" / "half.txt") as half:
            half.write_text("half")
            out.push()
            assert names(folder) == ["sub/one.txt"]
        (out.folder / "sub" / "half.txt").unlink()
        (out.folder / "two.txt").write_text("two")
        (out.folder / "sub" / "one.txt").write_text("changed")
    assert names(folder) == ["sub/one.txt", "two.txt"] and read(f"{folder}/sub/one.txt") == b"changed"
    assert not out.folder.exists()


@pytest.mark.parametrize("name", ["poetry.lock", "notes.tmp", ".gitignore", "sub/run.lock", ".cache/a", "a.partial"])
def test_files_of_others_are_put_whatever_they_are_called(name):
    folder = new_folder("memory")
    with written(folder) as out:
        (out.folder / name).parent.mkdir(exist_ok=True)
        (out.folder / name).write_text("theirs")
    assert names(folder) == [name]


@pytest.mark.parametrize(
    "name", [f".one.txt.{'0f' * 16}", ".model.former", ".model.new", ".model.partial", ".part-0-of-2.lock", MARK]
)
def test_names_of_a_moment_are_not_put(name):
    folder = new_folder("memory")
    with written(folder) as out:
        (out.folder / name).write_text("for a moment")
    assert names(folder) == []


@pytest.mark.parametrize("data", [b"", b"\n", b"a\r\n", b"--==0==\r", bytes(range(256))])
def test_any_bytes_come_back(folder, data):
    with written(folder) as out:
        (out.folder / "any").write_bytes(data)
    assert read(f"{folder}/any") == data and here(f"{folder}/any").read_bytes() == data


def test_a_sealed_folder_that_came_short_is_told_before_its_seal(monkeypatch):
    folder, real = new_folder("memory"), Objects._put

    def put_short(self: Objects, name: str, file: Path) -> None:
        real(self, name, Path(os.devnull) if name == "weights/a" else file)

    monkeypatch.setattr(Objects, "_put", put_short)
    with pytest.raises(StorageError, match="weights/a has 0 bytes where 5 were put"), written(folder) as out:
        (out.folder / "weights").mkdir()
        (out.folder / "weights" / "a").write_text("whole")
        (out.folder / "config.json").write_text("{}")
    assert "config.json" not in names(folder)


def test_a_second_run_sees_the_first_and_deletes_what_it_deletes(folder):
    put(f"{folder}/one.txt", b"one")
    put(f"{folder}/two.txt", b"two")
    with written(folder, wanted=lambda name: name == "one.txt") as out:
        assert (out.folder / "one.txt").read_bytes() == b"one"
        assert (out.folder / "two.txt").read_bytes() == b""  # stands for the name alone
        (out.folder / "one.txt").unlink()
    assert names(folder) == ["two.txt"] and read(f"{folder}/two.txt") == b"two"


def test_a_failure_keeps_what_is_written_and_names_the_address(folder):
    with pytest.raises(OSError) as failed, written(folder) as out:
        (out.folder / "one.txt").write_text("one")
        raise OSError(errno.ENOSPC, "no room", str(out.folder / "two.txt"))
    assert names(folder) == ["one.txt"] and failed.value.filename == f"{folder}/two.txt"


def test_files_and_folders_are_copied_here_once(folder):
    put(f"{folder}/model/config.json", b"{}")
    put(f"{folder}/model/weights/a", b"a")
    copy = here(f"{folder}/model/")
    assert (copy / "weights" / "a").read_bytes() == b"a" and as_typed(f"{copy}/x") == f"{folder}/model/x"
    put(f"{folder}/model/config.json", b"[]")
    assert read_text(f"{folder}/model/config.json") == "[]"
    assert (here(f"{folder}/model") / "config.json").read_bytes() in (b"{}", b"[]")
    with pytest.raises(FileNotFoundError) as absent:
        here(f"{folder}/absent")
    assert absent.value.filename == f"{folder}/absent"


@pytest.mark.parametrize("scheme", ["s3", "gs"], indirect=True)
def test_a_bucket_that_is_not_there_is_told_at_the_start(scheme):
    with pytest.raises(StorageError, match=f"^{scheme}://no-such-bucket/run cannot be written to: .*bucket"):
        with written(f"{scheme}://no-such-bucket/run"):
            raise AssertionError


def test_a_sealed_folder_counts_only_when_it_is_whole(monkeypatch):
    folder = new_folder("memory")
    sealed = ("checkpoints/2/state/a", "checkpoints/2/commit_success.txt", "model/weights/a", "model/config.json")
    with written(folder) as out:
        for name in sealed:
            (out.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (out.folder / name).write_text("first")
        out.push()
        (out.folder / "model" / "weights" / "a").write_text("second")
        steps: list[tuple[str, list[str]]] = []

        def recorded(what: str):
            real = getattr(Objects, what)

            def record(self: Objects, named, *rest):
                steps.append((what, list(named)))
                real(self, named, *rest)

            return record

        for what in ("put", "delete"):
            monkeypatch.setattr(Objects, what, recorded(what))
    told = [(what, found) for what, found in steps if found]
    assert told == [
        ("delete", ["model/config.json"]),
        ("put", ["model/weights/a"]),
        ("put", ["model/config.json"]),
    ]


def test_half_a_checkpoint_of_a_killed_run_is_deleted(folder):
    put(f"{folder}/checkpoints/2/state/a", b"a")
    put(f"{folder}/checkpoints/1/state/a", b"a")
    put(f"{folder}/checkpoints/1/commit_success.txt", b"1")
    put(f"{folder}/{MARK}", b"process 7 on another, run x")
    with written(folder, owner="this process") as out:
        assert out.former == "process 7 on another"
        assert [path.name for path in (out.folder / "checkpoints").iterdir()] == ["1"]
    assert names(folder) == ["checkpoints/1/commit_success.txt", "checkpoints/1/state/a"]


@pytest.mark.parametrize("owner", [None, "this process"])
def test_what_strangers_put_there_stays(owner):
    folder = new_folder("memory")
    theirs = ["checkpoints/7/opt.bin", "other/weights.safetensors", "weights/best.pt", "yolo/weights/best.pt"]
    theirs.append("yolo/checkpoints/7/opt.bin")
    for name in theirs:
        put(f"{folder}/{name}", b"theirs")
    with written(folder, owner=owner) as out:
        (out.folder / "one.txt").write_text("one")
    assert names(folder) == sorted([*theirs, "one.txt"]) and read(f"{folder}/weights/best.pt") == b"theirs"


def test_a_run_that_begins_while_another_copies_ends_it(monkeypatch):
    folder, fetch = new_folder("memory"), Objects.fetch
    put(f"{folder}/one.txt", b"1")
    inner = []

    def begin_another(self, sizes, place):
        fetch(self, sizes, place)
        if not inner:
            inner.append(None)
            with written(folder, owner="the second") as out:
                assert out.former == "the first"
                (out.folder / "two.txt").write_text("2")

    monkeypatch.setattr(Objects, "fetch", begin_another)
    with pytest.raises(StorageError, match="no longer belongs to this run: its mark was deleted"):
        with written(folder, owner="the first"):
            raise AssertionError
    assert names(folder) == ["one.txt", "two.txt"]


def test_a_run_that_has_lost_its_mark_puts_no_seal(monkeypatch):
    folder, real = new_folder("memory"), Objects._put

    def take_over(self: Objects, name: str, file: Path) -> None:
        real(self, name, file)
        put(f"{folder}/{MARK}", b"the second, run x")

    with pytest.raises(StorageError, match=r"another has begun there \(the second\)"):
        with written(folder, owner="the first") as out:
            (out.folder / "weights").mkdir()
            (out.folder / "weights" / "a").write_text("a")
            (out.folder / "config.json").write_text("{}")
            monkeypatch.setattr(Objects, "_put", take_over)
    assert names(folder) == [MARK, "weights/a"]


def test_a_run_that_has_lost_its_mark_stops_between_objects(monkeypatch):
    folder, real = new_folder("memory"), Objects._put
    monkeypatch.setattr(mark, "_SECONDS", 0.0)
    monkeypatch.setattr("vqdiffusion_jax.storage.transfer._AT_ONCE", 1)

    def take_over(self: Objects, name: str, file: Path) -> None:
        real(self, name, file)
        put(f"{folder}/{MARK}", b"the second, run x")

    with pytest.raises(StorageError, match="another has begun there"), written(folder, owner="the first") as out:
        for name in "abc":
            (out.folder / name).write_text(name)
        monkeypatch.setattr(Objects, "_put", take_over)
    assert names(folder) == ["a", MARK]


def test_a_run_that_ends_before_it_changed_anything_leaves_the_former_mark(folder):
    put(f"{folder}/{MARK}", b"the first, run x")
    with pytest.raises(KeyError), written(folder, owner="the second"):
        raise KeyError
    assert read(f"{folder}/{MARK}") == b"the first, run x"
    with written(folder, owner="the third") as out:
        (out.folder / "one.txt").write_text("1")
    assert names(folder) == ["one.txt"]


def test_an_object_is_no_folder_and_keeps_no_mark(folder):
    put(folder, b"an object")
    with pytest.raises(StorageError, match="is an object; name a folder"):
        StoredFolder(folder, owner="this process")
    assert [name for name in names(folder) if name] == []


def test_objects_whose_names_end_like_the_mark_are_copied():
    folder = new_folder("memory")
    put(f"{folder}/old-{MARK}", b"theirs")
    put(f"{folder}/x{PROBE}", b"theirs")
    with written(folder, owner="this process") as out:
        assert (out.folder / f"old-{MARK}").read_bytes() == (out.folder / f"x{PROBE}").read_bytes() == b"theirs"


def test_what_has_no_room_here_is_refused_before_it_is_copied(monkeypatch):
    folder = new_folder("memory")
    put(f"{folder}/big", b"123")
    put(f"{folder}/unwanted", bytes(1000))
    monkeypatch.setattr("shutil.disk_usage", lambda place: shutil._ntuple_diskusage(10, 10, 2))
    monkeypatch.setattr(Objects, "fetch", lambda *_: pytest.fail("copied"))
    with pytest.raises(
        StorageError, match=f"^{folder} has .* are free for its copy in .*; name another place in TMPDIR"
    ):
        StoredFolder(folder, lambda name: name == "big", owner="this process")
    with pytest.raises(StorageError, match=f"^{folder}/big has "):
        here(f"{folder}/big")
    assert names(folder) == ["big", "unwanted"]


@pytest.mark.parametrize("failing", [False, True])
def test_what_cannot_be_put_is_kept_here(failing, monkeypatch, tmp_path, capsys):
    folder = new_folder("memory")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def put_nothing(self: Objects, *_: object) -> None:
        raise StorageError("no network")

    with pytest.raises(KeyError if failing else StorageError), written(folder) as out:
        (out.folder / "one.txt").write_text("hours of work")
        monkeypatch.setattr(Objects, "put", put_nothing)
        if failing:
            raise KeyError("first")
    (kept,) = tmp_path.glob("vqdiffusion-kept-*/*/one.txt")
    assert kept.read_text() == "hours of work" and f"kept in {kept.parent}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "seal"),
    [
        ("checkpoints/10/state/d/a", "checkpoints/10/commit_success.txt"),
        ("run/checkpoints/10/_METADATA", "run/checkpoints/10/commit_success.txt"),
        ("model/weights/a", "model/config.json"),
        ("weights.safetensors", "config.json"),
        ("config.json", None),
        ("samples/000001.png", None),
    ],
)
def test_seals(name, seal):
    assert seal_of(name) == seal


def test_names_that_lead_elsewhere_are_left_out():
    folder = new_folder("memory")
    put(f"{folder}/one.txt", b"1")
    objects = Objects(folder)
    for name in ("../outside.txt", "a/" * 2000 + "nested.txt"):
        objects._files.store[f"{objects._path}/{name}"] = objects._files.store[f"{objects._path}/one.txt"]
    assert list(objects.sizes()) == ["one.txt"]


@pytest.mark.parametrize("size", [-1, 10**400, "5", float("nan"), []])
def test_a_size_that_is_none_is_told(monkeypatch, size):
    folder = new_folder("memory")
    put(f"{folder}/one.txt", b"1")
    objects = Objects(folder)
    listed = {f"{objects._path}/one.txt": {"size": size, "type": "file"}}
    monkeypatch.setattr(objects._files, "find", lambda *_, **__: listed)
    with pytest.raises(StorageError, match="one.txt cannot be read: its size is listed as"):
        objects.sizes()


def test_copies_go_with_the_process_and_those_of_killed_ones_with_the_next(tmp_path):
    program = "import fsspec; fsspec.filesystem('memory').pipe_file('/b/x', b'1')\n"
    program += "from vqdiffusion_jax.storage.copies import here; assert here('memory://b/x').read_bytes() == b'1'\n"
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", f"{program}import os; os._exit(0)"], env=environment, check=True)
    assert len(list(tmp_path.iterdir())) == 1
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
    assert not list(tmp_path.iterdir())
