"""Training examples recorded, source by source, so that two readers can be compared.

    python -m tests.data.recording recorded.json

writes what the package on the path gives; ``recorded/README.md`` says which one gave ``recorded/examples.json``.
"""

import csv
import hashlib
import io
import json
import pickle
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from vqdiffusion_jax.data import make_loader
from vqdiffusion_jax.presets import preset

RECORDED = Path(__file__).parent / "recorded"
_TEXT, _CLASS = preset("emoji"), preset("tiny_class")
_BATCH, _SEED = 4, 5


def record(name: str, folder: Path) -> dict[str, list[list[str]]]:
    """Return the examples of one of SOURCES by split: of training two epochs, of validation one pass.

    folder: one that does not exist yet, for the data set.
    An example is its id, the hash of its tokens or label, and the hash of its pixels.
    """
    source, options = SOURCES[name](folder)
    data = {"source": source, "root": str(folder), "options": options, "drop_rate": 0.1}
    if source in ("folder", "npz", "parquet", "tar_shards"):
        data["validation_fraction"] = 0.5
    model = _CLASS if "classes" in name else _TEXT
    return {split: _examples(data, model, split) for split in ("train", "validation")}


def _examples(data, model, split: str) -> list[list[str]]:
    batch = _BATCH if split == "train" else 1
    loader = make_loader(data, model, split=split, batch_size=batch, seed=_SEED)
    iterator, examples = iter(loader), []
    count = -(-2 * loader.num_examples // batch) if split == "train" else loader.num_examples
    for _ in range(count):
        batch = next(iterator)
        condition = batch["labels"] if "labels" in batch else np.where(batch["text_mask"], batch["text_ids"], -1)
        for row in zip(batch["ids"].tolist(), condition, batch["images"], strict=True):
            examples.append([row[0], *(hashlib.sha256(np.ascontiguousarray(v)).hexdigest()[:12] for v in row[1:])])
    iterator.close()
    return examples


def _coco(root: Path):
    shutil.copytree(RECORDED / "coco", root)
    return "coco", {}


def _pictures() -> list[bytes]:
    return [file.read_bytes() for file in sorted((RECORDED / "coco").glob("*/*.jpg"))]


def _captions(number: int) -> list[str]:
    """Return captions as people write them, several for some pictures."""
    captions = [
        "A dog, and a cat.",
        'A sign that says "stop" (in red)',
        "a café near the BEACH",
        "[blurry] two men; one bike",
    ]
    return captions[number % 4 :] if number % 2 else [captions[number % 4]]


def _put(path: Path, data: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())


def _texts(root: Path):
    for number, data in enumerate(_pictures()):
        _put(root / f"{number % 2}/{number:03d}.jpg", data)
        _put(root / f"{number % 2}/{number:03d}.txt", "\n".join(_captions(number)) + "\n")
    return "folder", {}


def _jsonl(root: Path):
    rows = []
    for number, data in enumerate(_pictures()):
        _put(root / f"{number}.jpg", data)
        rows += [{"image": f"{number}.jpg", "caption": caption} for caption in _captions(number)]
    _put(root / "captions.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    return "folder", {"captions": "captions.jsonl"}


def _csv(root: Path):
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(["image", "caption"])
    for number, data in enumerate(_pictures()):
        _put(root / f"{number}.jpg", data)
        table.writerows([f"{number}.jpg", caption] for caption in _captions(number))
    _put(root / "captions.csv", text.getvalue())
    return "folder", {"captions": "captions.csv"}


def _class_folders(root: Path):
    for number, data in enumerate(_pictures()):
        _put(root / "zebra ant beetle".split()[number % 3] / f"{number}.jpg", data)
    return "folder", {"labels": "folders"}


def _imagenet(root: Path):
    for number, data in enumerate(_pictures()):
        _put(root / ("val" if number % 3 == 2 else "train") / f"n0{number % 2}" / f"n0{number % 2}_{number}.JPEG", data)
    return "imagenet", {}


def _cub200(root: Path):
    for split in ("train", "test"):
        names = [f"001.Bird/Bird_{n:04d}" for n in range(len(_pictures())) if (n % 3 == 2) == (split == "test")]
        _put(root / split / "filenames.pickle", pickle.dumps(names, protocol=0))
    for number, data in enumerate(_pictures()):
        _put(root / f"images/001.Bird/Bird_{number:04d}.jpg", data)
        _put(root / f"text/text/001.Bird/Bird_{number:04d}.txt", "\n".join(_captions(number)) + "\n")
    return "cub200", {}


def _tar(root: Path):
    root.mkdir()
    for shard in range(2):
        with tarfile.open(root / f"{shard:05d}.tar", "w") as tar:
            for number, data in enumerate(_pictures()):
                caption = _captions(number)[0]
                files = {"jpg": data, "json": json.dumps({"caption": caption, "key": str(number)}).encode()}
                if shard:
                    files["txt"] = caption.encode()
                for ending, content in files.items():
                    member = tarfile.TarInfo(f"{shard:05d}{number:04d}.{ending}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
    return "tar_shards", {}


def _parquet(root: Path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    root.mkdir()
    pictures = _pictures()
    captions = [_captions(number) for number in range(len(pictures))]
    rows = {"image": [{"bytes": data, "path": "a.jpg"} for data in pictures], "caption": captions}
    pq.write_table(pa.table(rows), root / "data.parquet", row_group_size=3)
    return "parquet", {}


def _npz(root: Path):
    root.mkdir()
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(d)).convert("RGBA").resize((64, 64))) for d in _pictures()])
    pixels[..., 3] = np.arange(64 * 64).reshape(64, 64) % 256  # transparent parts
    np.savez(root / "pictures.npz", images=pixels)
    rows = [{"caption": _captions(n)[0], "style": "red", "thing": n // 2} for n in range(len(pixels))]
    _put(root / "captions.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    return "npz", {"caption_template": "{caption}, {style}", "group_field": "thing"}


SOURCES = {
    "coco": _coco,
    "folder with texts": _texts,
    "folder with a .jsonl": _jsonl,
    "folder with a .csv": _csv,
    "folder of classes": _class_folders,
    "imagenet classes": _imagenet,
    "cub200": _cub200,
    "tar_shards": _tar,
    "parquet": _parquet,
    "npz": _npz,
}

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        tables = {name: record(name, Path(place) / name) for name in SOURCES}
    text = json.dumps(tables, indent=0)
    for ends in (('[\n"', '["'), ('",\n"', '", "'), ('"\n]', '"]')):  # an example a line
        text = text.replace(*ends)
    Path(sys.argv[1]).write_text(text + "\n")
