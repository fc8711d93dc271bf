"""Damaged files behind flags of the command line, and what a run finds in its own folder."""

from __future__ import annotations

import json
import pickle
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from benchmarks import _hostile_mutations as mutate
from benchmarks._hostile_commands import run_command
from benchmarks._hostile_formats import of_picture
from benchmarks._hostile_specimens import picture_bytes
from vqdiffusion_jax import loading
from vqdiffusion_jax.interop.files.torch_legacy import MAGIC
from vqdiffusion_jax.pictures.png_text import png_info
from vqdiffusion_jax.training.metric_writer import MetricWriter

if TYPE_CHECKING:
    from benchmarks._hostile_case import Case

_RECIPE = {"mode": "sample", "prompt": "a cat", "seed": 3, "num_inference_steps": 4, "guidance_scale": 2.0}
_ROWS = [_RECIPE | {"file_name": f"cat{number}", "seed": number} for number in range(4)]


def make_files(folder: Path) -> None:
    """Write the files that flags name below ``folder``."""
    folder.mkdir(parents=True)
    Image.new("RGB", (16, 16)).save(folder / "again.png", pnginfo=png_info({"vqdiffusion": json.dumps(_RECIPE)}))
    (folder / "again.json").write_text(json.dumps(_RECIPE))
    columns = [name for name in _ROWS[0] if name != "mode"]
    for ending, between in (("csv", ","), ("tsv", "\t")):
        lines = [columns, *([str(row[name]) for name in columns] for row in _ROWS)]
        (folder / f"rows.{ending}").write_text("".join(between.join(line) + "\n" for line in lines))
    rows = [{name: row[name] for name in columns} for row in _ROWS]
    (folder / "rows.json").write_text(json.dumps(rows))
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "prompts.txt").write_text("a cat\na dog\n")
    (folder / "image.png").write_bytes(picture_bytes(0))
    (folder / "mask.png").write_bytes(picture_bytes(1))
    (folder / "metrics.jsonl").write_text("".join(json.dumps({"step": n, "loss": 1.5}) + "\n" for n in range(20)))
    (folder / "legacy.pth").write_bytes(_legacy({"state_dict": {f"layer{n}.weight": n for n in range(5)}}))


def _legacy(tree: Any) -> bytes:
    """Return a file as PyTorch wrote it before version 1.6, with a storage of 6 numbers for every whole number."""
    keys: list[str] = []

    def text(value: str) -> bytes:
        return b"X" + struct.pack("<I", len(value)) + value.encode()

    def value_of(node: Any) -> bytes:
        if isinstance(node, dict):
            return b"}(" + b"".join(text(name) + value_of(child) for name, child in node.items()) + b"u"
        keys.append(str(node))
        identity = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(str(node)) + text("cpu") + b"K\x06NtQ"
        return b"ctorch._utils\n_rebuild_tensor_v2\n(" + identity + b"K\x00K\x02K\x03\x86K\x03K\x01\x86\x89}tR"

    pickled = b"\x80\x02" + value_of(tree) + b"."
    plain = [pickle.dumps(value, 2) for value in (1001, {"little_endian": True, "protocol_version": 1001})]
    numbers = struct.pack("<q", 6) + np.ones(6, np.float32).tobytes()
    return MAGIC + b"".join(plain) + pickled + pickle.dumps(keys, 2) + numbers * len(keys)


def behind_flags(case: Case) -> None:
    """A sampling command, up to where it would draw, with a damaged file behind one or two of its flags."""
    arguments = ["--mode=sample", "--dry_run"]
    kinds = case.draw.sample(
        ("again", "prompts_file", "image", "mask_image", "checkpoint"), case.draw.choice((1, 1, 2))
    )
    for kind in kinds:
        name = {
            "again": case.draw.choice(("again.png", "again.json")),
            "prompts_file": case.draw.choice(("rows.csv", "rows.tsv", "rows.json", "rows.jsonl", "prompts.txt")),
            "image": "image.png",
            "mask_image": "mask.png",
            "checkpoint": "legacy.pth",
        }[kind]
        how = (lambda data: mutate.of_json(data, case.draw)) if name.endswith(".json") else None
        arguments.append(f"--{kind}={case.damaged(f'files/{name}', how)}")
        if kind == "mask_image" and "image" not in kinds:
            arguments.append(f"--image={case.whole / 'files' / 'image.png'}")
    if not {"again", "prompts_file"} & {*kinds}:
        arguments.append("--prompt=a cat")
    run_command(case, *arguments)


def legacy(case: Case) -> None:
    """A file of PyTorch from before version 1.6."""
    loading.open_model(case.damaged("files/legacy.pth", lambda data: _forged(data, case)))


def _forged(data: bytes, case: Case) -> bytes:
    """Return the file with one of its five pickles forged."""
    ends, at = [len(MAGIC)], len(MAGIC)
    for _ in range(4):
        at = data.index(b".", at + 1) + 1  # no value of these has the byte of STOP
        ends.append(at)
    parts = [data[a:b] for a, b in zip([0, *ends], [*ends, len(data)], strict=True)]
    one = case.draw.randrange(1, 5)
    try:
        parts[one] = mutate.of_pickle(parts[one], case.draw, case.canary)
    except Exception:  # a text with the byte of STOP ended it too early
        return mutate.of_bytes(data, case.draw)
    return b"".join(parts)


def records(case: Case) -> None:
    """The records that a run finds when it goes on."""
    case.damaged("files/metrics.jsonl")
    MetricWriter(case.place, case.draw.choice((0, 10, 100))).close()


def masks(case: Case) -> None:
    from vqdiffusion_jax.pictures import fit_mask, open_picture

    path = case.place / "mask.png"
    path.write_bytes(of_picture(picture_bytes(2), case.draw, case.canary))
    fit_mask(open_picture(path, "mask"), 16)


FLAG_DOORS = {behind_flags: 14, legacy: 8, records: 3, masks: 3}
