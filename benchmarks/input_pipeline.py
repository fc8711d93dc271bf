"""Samples a second of pictures and of cached tokens from the disk, and where the time goes.

    python -m benchmarks.input_pipeline --out=docs/results/input_pipeline.md

Makes a folder of JPEG files of COCO's size and a token cache of ITHQ's format (with random tokens: what they say does
not change how fast they are read) in a temporary folder, and reads both as training does.  The peer is PyTorch's
DataLoader over the same examples, where torch is installed.

    python -m benchmarks.input_pipeline --before=CHECKOUT --out=docs/results/input_pipeline.md

compares the processor time of reading with that of another version of the package, in every layout of a data set.  The
two take turns, each in a process of its own.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks._reading import LAYOUTS
from vqdiffusion_jax.data.cache_writer import write_records
from vqdiffusion_jax.data.config import DataConfig
from vqdiffusion_jax.data.examples import CachedExamples, PictureExamples
from vqdiffusion_jax.data.loader import make_loader
from vqdiffusion_jax.data.sources import open_source
from vqdiffusion_jax.data.token_cache import TokenCache, make_manifest, pack, record_dtypes, shard_names, unpack
from vqdiffusion_jax.data.transforms import decode, train_crop
from vqdiffusion_jax.presets import preset
from vqdiffusion_jax.text.tokenizer import Tokenizer

MODEL = preset("ithq")
WANTED = 650  # samples a second: ten times what one H200 trains
WORDS = (
    "a photo of the small brown dog that is running on green grass near an old wooden house with two red windows"
).split()
BATCH = 32
BESIDE = "## Beside an earlier version"
TURNS = 11


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--pictures", type=int, default=400, help="JPEG files to make")
    arguments.add_argument("--cached", type=int, default=20000, help="examples of the token cache to make")
    arguments.add_argument("--seconds", type=float, default=4.0, help="for each measurement")
    arguments.add_argument("--out", type=Path, help="also write the tables to this Markdown file")
    arguments.add_argument("--before", type=Path, help="a checkout of an earlier version to compare with, and no more")
    options = arguments.parse_args()
    if options.before:
        with tempfile.TemporaryDirectory() as folder:
            make_layouts(Path(folder), options.pictures, options.cached)
            report = render_costs(reading_costs(Path(folder), options.before), options.before, options.pictures)
        print(report)
        if options.out:
            written = options.out.read_text(encoding="utf-8") if options.out.exists() else ""
        write(options.out, written.partition(BESIDE)[0] + report)
        return
    with tempfile.TemporaryDirectory() as folder:
        pictures = DataConfig(source="folder", root=str(make_pictures(Path(folder) / "pictures", options.pictures)))
        cache = DataConfig(cache=str(make_cache(Path(folder) / "cache", options.cached)))
        result = {
            "cores": os.cpu_count(),
            "load": [round(x, 1) for x in os.getloadavg()],
            "machine": f"{platform.machine()}, Python {platform.python_version()}",
            "batch_size": BATCH,
            "samples_per_second": throughput(pictures, cache, options.seconds),
            "microseconds_per_sample": {"pictures": picture_stages(pictures), "token cache": cache_stages(cache)},
        }
    report = render(result)
    print(report)
    if options.out:
        compared = options.out.read_text(encoding="utf-8").partition(BESIDE) if options.out.exists() else ("", "", "")
        write(options.out, report + "\n" + "".join(("\n", *compared[1:]) if compared[1] else ()))


def write(out: Path, report: str) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(report, encoding="utf-8")


def make_pictures(root: Path, count: int) -> Path:
    """Write JPEG files of 640 x 480 with detail at every scale, as large as photographs, and five captions each."""
    rng = np.random.default_rng(0)
    root.mkdir()
    for i in range(count):
        picture = np.zeros((480, 640, 3))
        for scale in (4, 16, 64):
            coarse = rng.integers(0, 256, (480 // scale, 640 // scale, 3), dtype=np.uint8)
            picture += np.asarray(Image.fromarray(coarse).resize((640, 480), Image.Resampling.BICUBIC)) * (scale / 84)
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(root / f"{i:06d}.jpg", quality=90)
        (root / f"{i:06d}.txt").write_text("\n".join(caption(rng) for _ in range(5)))
    return root


def make_cache(root: Path, count: int) -> Path:
    rng, tokenizer = np.random.default_rng(0), Tokenizer(MODEL.tokenizer)
    manifest = make_manifest(MODEL, "0" * 64, tokenizer, num_examples=count, shard_size=4096)
    dtypes, length = record_dtypes(manifest), MODEL.denoiser.num_tokens
    captions = [tokenizer.encode(caption(rng)) for _ in range(1000)]
    (root / "train").mkdir(parents=True)
    (root / "train" / "manifest.json").write_text(json.dumps(manifest))
    for shard, name in enumerate(shard_names(manifest)):
        numbers = range(shard * 4096, min((shard + 1) * 4096, count))
        tokens = (rng.integers(0, manifest["num_codes"], (1, length)) for _ in numbers)
        records = (pack(f"{i:09d}", t, [captions[i % 1000]], None, dtypes) for i, t in zip(numbers, tokens))
        write_records(root / "train" / name, records)
    return root


def make_layouts(root: Path, pictures: int, cached: int) -> None:
    """Write the same pictures, with five captions each, in the layouts of ``_reading.LAYOUTS``, and a token cache."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(1)
    files = sorted(make_pictures(root / "folder, texts", pictures).glob("*.jpg"))
    named = {f"{n:06d}.jpg": (f, [caption(rng) for _ in range(5)]) for n, f in enumerate(files)}
    jsonl, coco, tar, parquet = (root / name for name in ("folder, .jsonl", "COCO", "tar shards", "parquet"))
    for folder in (jsonl, coco / "train2014", coco / "annotations", tar, parquet):
        folder.mkdir(parents=True)
    rows, annotations = [], []
    with tarfile.open(tar / "00000.tar", "w") as shard:
        for number, (name, (file, captions)) in enumerate(named.items()):
            (jsonl / name).hardlink_to(file)
            (coco / "train2014" / f"COCO_train2014_{number:012d}.jpg").hardlink_to(file)
            rows += [json.dumps({"image": name, "caption": text}) + "\n" for text in captions]
            annotations += [{"image_id": number, "id": len(annotations), "caption": text} for text in captions]
            for ending, data in (("jpg", file.read_bytes()), ("txt", captions[0].encode())):
                member = tarfile.TarInfo(f"{number:09d}.{ending}")
                member.size = len(data)
                shard.addfile(member, io.BytesIO(data))
    (jsonl / "captions.jsonl").write_text("".join(rows))
    (coco / "annotations" / "captions_train2014.json").write_text(json.dumps({"annotations": annotations}))
    columns = {"jpg": [f.read_bytes() for f, _ in named.values()], "caption": [texts for _, texts in named.values()]}
    pq.write_table(pa.table(columns), parquet / "00000.parquet", row_group_size=100)
    make_cache(root / "token cache", cached)


def reading_costs(data: Path, before: Path) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """Return, by layout and by what is done, the processor time of both versions, before and now, turn by turn."""
    script = Path(__file__).with_name("_reading.py")
    now = Path(__file__).parents[1]
    versions = [
        subprocess.Popen(
            [sys.executable, str(script), str(data)],
            env=os.environ | {"PYTHONPATH": str(checkout)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for checkout in (before.resolve(), now)
    ]

    def answer(version: subprocess.Popen, question: str) -> float:
        version.stdin.write(question + "\n")
        version.stdin.flush()
        return float(version.stdout.readline())

    costs: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for name in LAYOUTS:
        count = 2000 if name == "token cache" else 100
        for turn in range(TURNS):
            order = versions if turn % 2 else versions[::-1]
            for kind, question, of in (("read", f"read\t{name}\t{count}", count), ("open", f"open\t{name}", 1)):
                seconds = {version: answer(version, question) / of for version in order}
                costs.setdefault(name, {}).setdefault(kind, []).append((seconds[versions[0]], seconds[versions[1]]))
    for version in versions:
        version.stdin.close()
        version.wait()
    return costs


def render_costs(costs: dict[str, dict[str, list[tuple[float, float]]]], before: Path, pictures: int) -> str:
    commit = subprocess.run(
        ["git", "-C", str(before), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    lines = [
        BESIDE,
        "",
        "Made by `python -m benchmarks.input_pipeline --before=CHECKOUT --out=docs/results/input_pipeline.md "
        f"--pictures={pictures}`, with commit `{commit.stdout.strip()}` as CHECKOUT.",
        "",
        f"Processor time in one thread: medians of {TURNS} turns, in which the two versions alternate, and of the "
        f"pairs' ratios the median and the middle half.  The machine was shared (load {os.getloadavg()[0]:.0f} on "
        f"{os.cpu_count()} cores), which lengthens processor time too, of both alike.  What opening takes more is for "
        "strict reading of captions and for the account of what is left out; of tar shards it takes an index, which "
        "each version makes anew where the other has written its own.",
    ]
    for kind, unit, scale in (("read", "microseconds an example", 1e6), ("open", "milliseconds to open", 1e3)):
        lines += ["", f"| {unit} | before | now | now / before |", "|---|---:|---:|---:|"]
        for name, of in costs.items():
            then, now = (statistics.median(pair[side] for pair in of[kind]) * scale for side in (0, 1))
            low, middle, high = statistics.quantiles([now / then for then, now in of[kind]], n=4)
            lines.append(f"| {name} | {then:,.1f} | {now:,.1f} | {middle:.2f} ({low:.2f} to {high:.2f}) |")
    return "\n".join(lines) + "\n"


def caption(rng: np.random.Generator) -> str:
    return " ".join(rng.choice(WORDS, size=11))


def throughput(pictures: DataConfig, cache: DataConfig, seconds: float) -> dict[str, list[float]]:
    """Return the rates of three rounds in which all take turns, as other work on the machine comes and goes."""
    rates: dict[str, list[float]] = {}
    for _ in range(3):
        for name, data in (("JPEG folder", pictures), ("token cache", cache)):
            for workers in (0, 2):
                iterator = iter(make_loader(data, MODEL, split="train", batch_size=BATCH, workers=workers))
                how = f"{workers} worker processes" if workers else f"{data.read_threads} threads"
                rates.setdefault(f"{name}, {how}", []).append(rate(iterator, seconds))
                iterator.close()
        peer = torch_loader(pictures)
        if peer is not None:
            rates.setdefault("JPEG folder, PyTorch DataLoader, 2 worker processes", []).append(rate(peer, seconds))
    return rates


def rate(batches: Iterable, seconds: float) -> float:
    """Return samples a second, after those that start-up had made ready are used up."""
    batches = iter(batches)
    for _ in range(12):
        next(batches)
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        next(batches)
        count += BATCH
    return round(count / (time.perf_counter() - start), 1)


class Endless:
    """The training examples without end, as PyTorch's DataLoader wants them."""

    def __init__(self, data: DataConfig):
        self.examples = PictureExamples(open_source(data, "train"), MODEL)

    def __len__(self) -> int:
        return 10**9

    def __getitem__(self, index: int) -> dict:
        chosen = np.random.default_rng(index).integers(len(self.examples))
        example = self.examples(int(chosen), np.random.default_rng((0, index)))
        return example | {"images": np.array(example["images"])}  # torch wants arrays that can be written to


def torch_loader(data: DataConfig) -> Iterable | None:
    try:
        from torch.utils.data import DataLoader
    except ImportError:
        return None
    return DataLoader(Endless(data), batch_size=BATCH, num_workers=2, multiprocessing_context="spawn")


def picture_stages(data: DataConfig, count: int = 200) -> dict[str, float]:
    source, tokenizer, rng = open_source(data, "train"), Tokenizer(MODEL.tokenizer), np.random.default_rng(0)
    size = MODEL.codec.image_size
    records, read = timed(lambda i: source[i % len(source)], range(count))
    decoded, decoding = timed(lambda record: decode(record["image"]), records)
    crops, cropping = timed(lambda picture: train_crop(picture, size, rng), decoded)
    texts, tokenising = timed(lambda record: tokenizer([record["captions"][0]]), records)
    ids = [ids[0] for ids, _ in texts]
    _, batching = timed(
        lambda i: [np.stack(crops[i : i + BATCH]), np.stack(ids[i : i + BATCH])], range(0, count, BATCH)
    )
    return {
        "read": read,
        "decode": decoding,
        "crop and resize": cropping,
        "tokenise text": tokenising,
        "batch": round(batching / BATCH, 1),
    }


def cache_stages(data: DataConfig, count: int = 5000) -> dict[str, float]:
    cache, rng = TokenCache(Path(data.cache), "train", MODEL), np.random.default_rng(0)
    dtypes, examples = record_dtypes(cache.manifest), CachedExamples(cache, MODEL)
    order = rng.permutation(len(cache))[:count].tolist()
    raw, read = timed(cache.raw, order)
    _, unpacking = timed(lambda data: unpack(data, dtypes), raw)
    whole, making = timed(lambda i: examples(i, np.random.default_rng((0, 0, i))), order)
    names = ("tokens", "text_ids", "text_mask")
    _, batching = timed(
        lambda i: [np.stack([e[name] for e in whole[i : i + BATCH]]) for name in names], range(0, count, BATCH)
    )
    choosing = round(making - read - unpacking, 1)
    return {"read": read, "unpack": unpacking, "choose and pad": choosing, "batch": round(batching / BATCH, 1)}


def timed(function: Callable, items: Iterable) -> tuple[list, float]:
    """Return the results, and microseconds a call."""
    items = list(items)
    function(items[0])
    start = time.perf_counter()
    results = [function(item) for item in items]
    return results, round((time.perf_counter() - start) / len(items) * 1e6, 1)


def render(result: dict) -> str:
    lines = [
        "# Input pipeline",
        "",
        "Made by `python -m benchmarks.input_pipeline --out=docs/results/input_pipeline.md`.",
        "",
    ]
    lines += [
        f"{result['cores']} cores ({result['machine']}), shared: load {result['load'][0]} at the start.  Text model, "
        f"256 x 256 pictures from 640 x 480 JPEG files, 32 x 32 tokens, batches of {result['batch_size']}.",
        "",
        "| from | samples a second, median of 3 | least | most |",
        "|---|---:|---:|---:|",
    ]
    rates = result["samples_per_second"]
    lines += [f"| {name} | {statistics.median(r):,.0f} | {min(r):,.0f} | {max(r):,.0f} |" for name, r in rates.items()]
    slowest = min(min(r) for name, r in rates.items() if name.startswith("token cache"))
    lines += [
        "",
        f"At its slowest the cache gives {slowest / WANTED:.1f} times the {WANTED} samples a second wanted: ten times "
        "what one",
    ]
    lines += ["H200 trains on ITHQ-large."]
    for name, stages in result["microseconds_per_sample"].items():
        total = sum(stages.values())
        lines += ["", f"| {name}: stage, one thread | microseconds a sample | share |", "|---|---:|---:|"]
        lines += [f"| {stage} | {value:,.0f} | {value / total:.0%} |" for stage, value in stages.items()]
        lines += [f"| all | {total:,.0f} | |"]
    return "\n".join([*lines, "", "```json", json.dumps(result, indent=1), "```"])


if __name__ == "__main__":
    main()
