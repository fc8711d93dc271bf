"""Data sets of every layout that the package reads, whole and small, and the doors that read them damaged."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import shutil
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import _hostile_mutations as mutate
from benchmarks._hostile_specimens import picture_bytes
from vqdiffusion_jax import preset
from vqdiffusion_jax.data.config import DataConfig
from vqdiffusion_jax.data.emoji import packages
from vqdiffusion_jax.data.examples import decoded, read_record
from vqdiffusion_jax.data.inspection import inspect, table
from vqdiffusion_jax.data.loader import make_loader
from vqdiffusion_jax.data.sources import open_source
from vqdiffusion_jax.errors import BrokenRecord

if TYPE_CHECKING:
    from benchmarks._hostile_case import Case

COUNT = 6
PACKAGE = "noto@1.0.0"
# Data set -> options; the layouts that no other door reads.
LAYOUTS: dict[str, dict[str, Any]] = {
    "coco": {}, "cub200": {}, "ffhq": {}, "imagenet": {}, "npz": {"label_field": "kind"}, "oxford102": {},
    "parquet": {}, "folder": {"labels": "folders"},
}  # fmt: skip


def make_sources(folder: Path) -> None:
    """Write a data set of each layout below ``folder``."""
    for name in LAYOUTS:
        (folder / name).mkdir(parents=True)
    coco = folder / "coco"
    for phase in ("train", "val"):
        rows = [{"image_id": number, "caption": f"a picture, number {number}"} for number in range(COUNT)]
        _write(coco / "annotations" / f"captions_{phase}2014.json", json.dumps({"annotations": rows}).encode())
        for number in range(COUNT):
            _write(coco / f"{phase}2014" / f"COCO_{phase}2014_{number:012d}.jpg", picture_bytes(number, "JPEG"))
    for phase in ("train", "test"):
        names = [f"001.Bird/{phase}_{number}" for number in range(COUNT)]
        _write(folder / "cub200" / phase / "filenames.pickle", pickle.dumps(names, protocol=2))
        for number, name in enumerate(names):
            _write(folder / "cub200" / "images" / f"{name}.jpg", picture_bytes(number, "JPEG"))
            _write(folder / "cub200" / "text" / f"{name}.txt", b"a bird\na small bird\n")
    for number in range(COUNT):
        _write(folder / "ffhq" / "00000" / f"{number:05d}.png", picture_bytes(number))
        _write(folder / "folder" / f"class{number % 3}" / f"{number}.png", picture_bytes(number))
        for phase in ("train", "val"):
            _write(folder / "imagenet" / phase / f"n{number % 2:08d}" / f"{number}.JPEG", picture_bytes(number, "JPEG"))
        _write(folder / "oxford102" / "jpg" / f"image_{number + 1:05d}.jpg", picture_bytes(number, "JPEG"))
        _write(folder / "oxford102" / "text_c10" / f"image_{number + 1:05d}.txt", b"a flower\na red flower\n")
    lines = [f"n{number % 2:08d}/{number}.JPEG" for number in range(COUNT)]
    _write(folder / "imagenet" / "ILSVRC2012_name_train.txt", "\n".join(lines).encode())
    _of_arrays(folder)
    files = {"package/icons.json": json.dumps({"icons": {"a": {"body": "<path/>"}}}).encode()}
    _write(folder / packages.tarball(PACKAGE), packed(files))


def _of_arrays(folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from scipy.io import savemat

    for name, tables in (("imagelabels", {"labels": np.ones((1, COUNT))}), ("setid", {"valid": np.array([[1, 2]])})):
        savemat(folder / "oxford102" / f"{name}.mat", tables, do_compression=True)
    np.savez(folder / "npz" / "pictures.npz", images=np.zeros((COUNT, 16, 16, 3), np.uint8))
    rows = [{"caption": f"number {number}", "kind": "ab"[number % 2]} for number in range(COUNT)]
    _write(folder / "npz" / "captions.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
    columns = {
        "image": [picture_bytes(number) for number in range(COUNT)],
        "caption": [f"a picture, number {number}" for number in range(COUNT)],
        "label": list(range(COUNT)),
        "split": ["train"] * (COUNT - 2) + ["validation"] * 2,
    }
    pq.write_table(pa.table(columns), folder / "parquet" / "a.parquet", row_group_size=3)


def packed(files: dict[str, bytes], mode: str = "w:gz") -> bytes:
    """Return a tar file of these names and contents; mode: of tarfile.open."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def sources(case: Case) -> None:
    """A data set of some layout, damaged, whose records are read one by one."""
    name = case.draw.choice(list(LAYOUTS))
    source = open_source(_damaged(case, name), case.draw.choice(("train", "train", "validation")))
    if case.draw.random() < 0.1:
        _vanish(case.place / name)
    for index in range(min(len(source), 10)):
        try:
            decoded(read_record(source, index))
        except BrokenRecord:
            continue


def inspected(case: Case) -> None:
    """A damaged data set, looked at as ``--mode=inspect`` does."""
    name = case.draw.choice(list(LAYOUTS))
    data = _damaged(case, name)
    table([inspect(open_source(data, "train"), data, preset("tiny_text").codec, "train", most=10)], [])


def loaders(case: Case) -> None:
    """Batches of a damaged data set, which may vanish before the second."""
    name = case.draw.choice(("coco", "cub200", "npz", "parquet"))
    loader = make_loader(_damaged(case, name), preset("tiny_text"), split="train", batch_size=2)
    batches = iter(loader)
    try:
        for _ in range(3):
            next(batches)
            if case.draw.random() < 0.1:
                _vanish(case.place / name)
    finally:
        batches.close()


def emoji_packages(case: Case) -> None:
    """A damaged tarball of drawings."""
    case.damaged(f"sources/{packages.tarball(PACKAGE)}")
    return packages.read_json(case.place, PACKAGE, "icons.json")


def _damaged(case: Case, name: str) -> DataConfig:
    root = case.folder(f"sources/{name}", as_name=name)
    if case.draw.random() < 0.3:
        disturb(root, case.draw)
    return DataConfig(source=name, root=str(root), options=LAYOUTS[name], max_broken=3, read_threads=1)


def disturb(root: Path, draw: random.Random) -> None:
    """Put something beside or in place of the files and folders of a data set that does not belong there."""
    folders = [root, *sorted(path for path in root.rglob("*") if path.is_dir() and not path.is_symlink())]
    place = draw.choice(folders)
    kind = draw.randrange(8)
    if kind == 0 and place != root:
        shutil.rmtree(place)
        mutate.irregular(place, draw)
    elif kind == 1 and place != root:
        shutil.rmtree(place)
        place.write_bytes(b"no folder")
    elif kind == 2:
        for name in ("a", "b"):
            (place / name).symlink_to(draw.choice((".", "..", root, "/proc/self", "b", "a")))
    elif kind == 3:
        name = draw.choice((b"\xff\xfe.png", b"a\nb.png", b"\x1b[31m.jpg", b"x" * 250 + b".png", b" .png", b"-.png"))
        Path(os.fsdecode(os.fsencode(place) + b"/" + name)).write_bytes(picture_bytes(0))
    elif kind == 4:
        mutate.irregular(place / draw.choice(("0.png", "x.jpg", "x.txt", "z.parquet", "z.npz")), draw)
    elif kind == 5:
        deep = place
        for _ in range(draw.choice((5, 60))):
            deep = deep / ("d" * draw.choice((1, 40)))
        deep.mkdir(parents=True, exist_ok=True)
        (deep / "0.png").write_bytes(picture_bytes(1))
    elif kind == 6:
        files = sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
        if files:
            path = draw.choice(files)
            path.unlink()
            path.mkdir()
    else:
        (place / draw.choice(("val", "test", "train", "validation", "Train"))).mkdir(exist_ok=True)


def _vanish(root: Path) -> None:
    shutil.rmtree(root, ignore_errors=True)


SOURCE_DOORS = {sources: 24, inspected: 6, loaders: 4, emoji_packages: 3}
