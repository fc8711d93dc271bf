"""Tiny data sets of every layout, written to a folder."""

import io
import json
import pickle
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

from tests.pictures.files import exif

SIZES = ((20, 24), (31, 17), (16, 16), (40, 22))  # width, height


def pixels(number: int, size=None) -> np.ndarray:
    """A picture of its own for each number: smooth, so that JPEG keeps it."""
    width, height = size or SIZES[number % len(SIZES)]
    y, x = np.mgrid[:height, :width]
    return np.stack(
        [(x * 7 + number * 31) % 256, (y * 5 + number * 13) % 256, np.full_like(x, number * 20 % 256)], -1
    ).astype(np.uint8)


def encoded(number: int, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels(number)).save(file, kind, **options)
    return file.getvalue()


def put(path: Path, data: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())


def drawings(root: Path, concepts, styles, size: int = 8) -> Path:
    """Write drawings as ``python -m vqdiffusion_jax.data.emoji`` does: each a plain square of its own colour."""
    rows = [
        {"caption": concept, "style": style, "style_word": word, "codepoint": f"u{number}"}
        for style, word in styles.items()
        for number, concept in enumerate(concepts)
    ]
    images = np.full((len(rows), size, size, 4), 255, np.uint8)
    images[..., :3] = np.random.default_rng(0).integers(0, 256, (len(rows), 1, 1, 3))
    root.mkdir(parents=True, exist_ok=True)
    np.savez(root / "emoji.npz", images=images)
    (root / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


def folder(root: Path, count: int = 8, captions: bool = True) -> Path:
    for i in range(count):
        put(root / f"{i:03d}.png", encoded(i))
        if captions:
            put(root / f"{i:03d}.txt", f"Picture {i}\nA drawing of {i}\n")
    return root


def coco(root: Path) -> Path:
    for phase, images in (("train", (5, 7)), ("val", (9,))):
        annotations = [{"image_id": i, "caption": f"A photo {i} {n}"} for i in images for n in range(2)]
        put(root / "annotations" / f"captions_{phase}2014.json", json.dumps({"annotations": annotations}))
        for i in images:
            put(root / f"{phase}2014" / f"{phase}2014" / f"COCO_{phase}2014_{i:012d}.jpg", encoded(i, "JPEG"))
    return root


def cub200(root: Path) -> Path:
    for phase, numbers in (("train", (0, 1, 2)), ("test", (3,))):
        names = [f"001.Bird/Bird_{i:04d}" for i in numbers]
        put(root / phase / "filenames.pickle", pickle.dumps(names, protocol=0))
        for i, name in zip(numbers, names):
            put(root / "images" / f"{name}.jpg", encoded(i, "JPEG"))
            put(root / "text" / "text" / f"{name}.txt", f"This Bird is {i}\na bird\n")
    return root


def imagenet(root: Path) -> Path:
    for phase, count in (("train", 2), ("val", 1)):
        for synset in ("n02", "n01", "n03"):
            for i in range(count):
                put(root / phase / synset / f"{synset}_{i}.JPEG", encoded(i, "JPEG"))
    return root


def oxford102(root: Path, mats: bool = True) -> Path:
    for i in range(1, 7):
        put(root / "jpg" / f"image_{i:05d}.jpg", encoded(i, "JPEG"))
        put(root / "text_c10" / "class_00001" / f"image_{i:05d}.txt", f"flower {i}\n")
    if mats:
        from scipy.io import savemat

        savemat(root / "imagelabels.mat", {"labels": np.arange(1, 7)[None]})
        savemat(root / "setid.mat", {"trnid": [[1, 2]], "valid": [[3, 6]], "tstid": [[4, 5]]})
    return root


def tar_shards(root: Path) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for shard in range(2):
        with tarfile.open(root / f"{shard:05d}.tar", "w") as tar:
            for i in range(3):
                key = f"{shard:05d}{i:04d}"
                caption = f"tar {shard} {i}"
                files = {"jpg": encoded(i, "JPEG"), "json": json.dumps({"caption": caption, "key": key}).encode()}
                if shard == 0:
                    files["txt"] = caption.encode()
                for ending, data in files.items():
                    info = tarfile.TarInfo(f"{key}.{ending}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
    return root


def parquet(root: Path) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    root.mkdir(parents=True, exist_ok=True)
    for shard in range(2):
        rows = {
            "key": [f"{shard}{i}" for i in range(5)],
            "caption": [f"parquet {shard} {i}" for i in range(5)],
            "status": ["success"] * 3 + ["failed_to_download", "success"],
            "jpg": [encoded(i, "JPEG") if i != 3 else None for i in range(5)],
        }
        pq.write_table(pa.table(rows), root / f"{shard:05d}.parquet", row_group_size=2)
    return root


def tfds(root: Path) -> Path:
    """Write a data set in TFDS's layout, since TFDS itself needs TensorFlow to prepare one."""
    import tensorflow_datasets
    from array_record.python.array_record_module import ArrayRecordWriter
    from tensorflow_datasets.proto import tf_example_pb2

    folder = root / "tiny" / "1.0.0"
    folder.mkdir(parents=True)
    features = tensorflow_datasets.features
    table = {
        "image": features.Image(shape=(None, None, 3)),
        "label": features.ClassLabel(num_classes=3),
        "text": features.Text(),
    }
    features.FeaturesDict(table).save_config(folder)
    split = {
        "name": "train",
        "numBytes": "1",
        "shardLengths": ["5"],
        "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
    }
    info = {"name": "tiny", "version": "1.0.0", "fileFormat": "array_record", "splits": [split]}
    put(folder / "dataset_info.json", json.dumps(info))
    writer = ArrayRecordWriter(str(folder / "tiny-train.array_record-00000-of-00001"), "group_size:1")
    for i in range(5):
        example = tf_example_pb2.Example()
        picture = encoded(i, exif=exif(6)) if i == 3 else encoded(i) if i != 4 else b"no picture"
        example.features.feature["image"].bytes_list.value.append(picture)
        example.features.feature["label"].int64_list.value.append(i % 3)
        example.features.feature["text"].bytes_list.value.append(f"TFDS {i}".encode())
        writer.write(example.SerializeToString())
    writer.close()
    return root


def npz(root: Path) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    np.savez(root / "pictures.npz", images=np.stack([pixels(i, (16, 16)) for i in range(12)]))
    lines = [json.dumps({"caption": f"thing {i // 2}", "thing": i // 2, "kind": "ab"[i % 2]}) for i in range(12)]
    put(root / "captions.jsonl", "\n".join(lines) + "\n")
    return root
