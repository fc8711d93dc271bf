"""The doors of the package: functions that read files, each with the specimen that it reads and its damage."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import _hostile_mutations as mutate
from benchmarks._hostile_behind_flags import FLAG_DOORS
from benchmarks._hostile_case import Case
from benchmarks._hostile_changing import changing_doors
from benchmarks._hostile_commands import config_file, config_override, flags_of_modes
from benchmarks._hostile_formats import of_picture
from benchmarks._hostile_loras import LORA_DOORS
from benchmarks._hostile_page import PAGE_DOORS
from benchmarks._hostile_requests import REQUEST_DOORS
from benchmarks._hostile_servers import SERVER_DOORS
from benchmarks._hostile_sources import SOURCE_DOORS
from benchmarks._hostile_specimens import STATE, torch_file
from benchmarks._hostile_strangers import STRANGERS_DOORS
from vqdiffusion_jax import loading
from vqdiffusion_jax.checkpoint import TrainingCheckpoints
from vqdiffusion_jax.cli.step_schedule import _read_bound
from vqdiffusion_jax.data.loader import make_loader
from vqdiffusion_jax.demo.form import SUBJECT, default_form, model_inputs, read_form, strategy_inputs
from vqdiffusion_jax.demo.limits import Limits
from vqdiffusion_jax.demo.upload import read_upload
from vqdiffusion_jax.evaluation.chunks import ChunkStore
from vqdiffusion_jax.evaluation.inception_weights import load_inception
from vqdiffusion_jax.evaluation.judge.files import load_judge
from vqdiffusion_jax.evaluation.protocol import read_protocol
from vqdiffusion_jax.evaluation.statistics import read_statistics
from vqdiffusion_jax.interop import config_from_yaml, read_reduction
from vqdiffusion_jax.model_folder import read_config
from vqdiffusion_jax.pictures import fit_picture, open_picture
from vqdiffusion_jax.presets import preset
from vqdiffusion_jax.recipe import settings_of_recipe
from vqdiffusion_jax.sampling import STRATEGIES
from vqdiffusion_jax.serving import asked
from vqdiffusion_jax.serving import limits as serving_limits
from vqdiffusion_jax.serving.edits import start_of
from vqdiffusion_jax.text.tokenizer import Tokenizer
from vqdiffusion_jax.user_files import read_json


def _archive(case: Case) -> Callable[[bytes], bytes]:
    return lambda data: mutate.of_archive(data, case.draw, case.canary)


def _loaded(case: Case, path: Path, **companions: Any) -> None:
    opened = loading.open_model(path, weights="model", **companions) if not path.is_dir() else loading.open_model(path)
    if case.draw.random() < 0.02:
        opened.load()


def checkpoint(case: Case) -> None:
    _loaded(case, case.damaged("checkpoint.pth", _archive(case)))


def checkpoint_tree(case: Case) -> None:
    with np.load(case.whole / "tensors.npz") as arrays:
        tensors = mutate.of_tensors(dict(arrays), case.draw)
    path = case.place / "tree.pth"
    path.write_bytes(torch_file({case.draw.choice(("model", "model", "model", "state_dict")): tensors}))
    _loaded(case, path)


def convert(case: Case) -> None:
    case.writes.append(case.place / "out")
    loading.convert(case.damaged("clip.pt", _archive(case)), case.place / "out")


def codec(case: Case) -> None:
    loading.load_codec(case.damaged("codec.pth", _archive(case)))


def clip(case: Case) -> None:
    loading.load_clip(case.damaged("clip.pt", _archive(case)))


def inception(case: Case) -> None:
    load_inception(case.damaged("clip.pt", _archive(case)))


def mapping(case: Case) -> None:
    name = case.draw.choice(("mapping.npy", "mapping.pt"))
    read_reduction(case.damaged(name, _archive(case) if name == "mapping.pt" else None))


def yaml_file(case: Case) -> None:
    config_from_yaml(case.damaged("config.yaml", lambda data: mutate.of_yaml(data, case.draw, case.canary)))


def model_config(case: Case) -> None:
    read_config(case.folder("model", ("config.json",)))


def tokenizer(case: Case) -> None:
    folder = case.folder("model", ("vocab.json", "merges.txt", "config.json"))
    Tokenizer.from_files(folder / "tokenizer")(["a cat"])


def model_weights(case: Case) -> None:
    folder = case.folder("model")
    loading.open_model(folder).load()


def orbax(case: Case) -> None:
    loading.open_model(case.folder("model", tuple(_files(case.whole / "model" / "weights")))).load()


def checkpoints(case: Case) -> None:
    folder = case.folder("checkpoints", tuple(_files(case.whole / "checkpoints")))
    kept = TrainingCheckpoints(folder)
    try:
        kept.restore(STATE)
    finally:
        kept.close()


def _files(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


def diffusers(case: Case) -> None:
    folder = case.folder("diffusers", (".json", ".safetensors", ".txt"))
    _loaded(case, folder)


def clip_folder(case: Case) -> None:
    loading.load_clip(case.folder("clip"))


def statistics(case: Case) -> None:
    read_statistics(case.damaged("statistics.npz"))


def judge(case: Case) -> None:
    load_judge(case.damaged("judge.npz"))


def chunks(case: Case) -> None:
    store = ChunkStore(case.folder("chunks"), 6, 4, {"model": "m"})
    for name in store.names():
        store.all(name)
    store.pictures_per_second()


def protocol(case: Case) -> None:
    read_protocol(case.damaged("protocol.json", lambda data: mutate.of_json(data, case.draw)))


def recipe(case: Case) -> None:
    path = case.damaged("picture.json", lambda data: mutate.of_json(data, case.draw))
    table = read_json(path)
    if isinstance(table, dict):
        settings_of_recipe(table, case.place)


def report(case: Case) -> None:
    _read_bound(case.damaged("report.json", lambda data: mutate.of_json(data, case.draw)))


def upload(case: Case) -> None:
    name = case.draw.choice(sorted(path.name for path in (case.whole / "pictures").iterdir() if path.suffix != ".txt"))
    data = (case.whole / "pictures" / name).read_bytes()
    if case.draw.random() < 0.5:
        data = of_picture(data, case.draw, case.canary)
    read_upload(mutate.of_bytes(data, case.draw) if case.draw.random() < 0.7 else data, Limits())


def picture(case: Case) -> None:
    name = case.draw.choice(sorted(path.name for path in (case.whole / "pictures").iterdir() if path.suffix != ".txt"))
    fit_picture(open_picture(case.damaged(f"pictures/{name}"), "image"), 16)


def form(case: Case) -> None:
    config = preset(case.draw.choice(("tiny_text", "tiny_class", "tiny_unconditional")))
    limits, strategy = Limits(), case.draw.choice(list(STRATEGIES))
    inputs = model_inputs(config, limits) | strategy_inputs(strategy, limits)
    values = {name: value for name, value in default_form(config).items() if name in inputs} | {"strategy": strategy}
    values |= {SUBJECT[config.denoiser.condition]: 1} if config.denoiser.condition in SUBJECT else {}
    read_form(mutate.of_tree(values, case.draw), config, limits)


def api(case: Case) -> None:
    """A request to ``--mode=serve``: fields as JSON or of a form, and pictures."""
    fields = {"model": "m", "prompt": "a cat", "n": 2, "size": "16x16", "response_format": "b64_json", "seed": 3}
    fields |= {
        case.draw.choice(("guidance_scale", "num_inference_steps", "top_k", "purity", "strategy", "batch_size")): 1
    }
    edits, limits, model = case.draw.random() < 0.4, serving_limits.Limits(), asked.Model("m", 16)
    fields |= {"strength": 0.5, "outpaint": [0.1, 0, 0, 0.2]} if edits else {}
    body = mutate.of_json(json.dumps(fields).encode(), case.draw)
    table = asked.table_of(body)
    if case.draw.random() < 0.3:
        form = {str(name): str(value) for name, value in table.items()}
        table = asked.table_of_form(form, asked.inputs(limits, edits=edits))
    found = asked.read(table, model, limits, edits=edits)
    if edits:
        data = {name: (case.whole / "pictures" / "0.png").read_bytes() for name in ("image", "mask")}
        one = case.draw.choice(list(data))
        data[one] = case.draw.choice((of_picture, lambda data, draw, _: mutate.of_bytes(data, draw)))(
            data[one], case.draw, case.canary
        )
        if case.draw.random() < 0.5:
            del data["mask"]
        found.fields.update(start_of(data, found.fields, model.size, limits))
    found.settings()


def cache(case: Case) -> None:
    folder = case.folder("cache", (".json", ".array_record"))
    _batches({"cache": str(folder), "read_threads": 1}, read_config(case.whole / "model"))


def captions(case: Case) -> None:
    name = case.draw.choice(("captions.csv", "captions.tsv", "captions.jsonl", "captions.json"))
    shutil.copytree(case.whole / "captioned", case.place / "captioned")
    (case.place / "captioned" / name).unlink()
    how = (lambda data: mutate.of_json(data, case.draw)) if name.endswith("json") else None
    case.damaged(f"captioned/{name}", how).rename(case.place / "captioned" / name)
    _batches(
        {
            "source": "folder",
            "root": str(case.place / "captioned"),
            "read_threads": 1,
            "options": {"captions": name},
            "missing_captions": case.draw.choice(("drop", "keep", "refuse")),
        }
    )


def pictures(case: Case) -> None:
    _batches({"source": "folder", "root": str(case.folder("pictures")), "read_threads": 1})


def tar(case: Case) -> None:
    _batches({"source": "tar_shards", "root": str(case.folder("tar")), "read_threads": 1})


def _batches(data: dict[str, Any], model: Any = None) -> None:
    loader = make_loader(data | {"max_broken": 2}, model or preset("tiny_text"), split="train", batch_size=4)
    batches = iter(loader)
    try:
        for _ in range(3):
            next(batches)
    finally:
        batches.close()


def data_options(case: Case) -> None:
    table = mutate.of_tree({"source": "folder", "root": str(case.whole / "pictures"), "options": {}}, case.draw)
    make_loader(table, preset("tiny_text"), split="train", batch_size=4)


DOORS: dict[Callable[[Case], None], int] = {  # how often each is tried
    checkpoint: 24,
    checkpoint_tree: 8,
    convert: 3,
    codec: 4,
    clip: 8,
    inception: 4,
    mapping: 6,
    yaml_file: 14,
    model_config: 8,
    tokenizer: 4,
    model_weights: 1,
    diffusers: 6,
    clip_folder: 5,
    statistics: 6,
    protocol: 6,
    recipe: 6,
    report: 3,
    upload: 8,
    picture: 8,
    form: 8,
    api: 10,
    cache: 8,
    pictures: 8,
    tar: 8,
    data_options: 4,
    captions: 8,
    judge: 4,
    chunks: 4,
    orbax: 6,
    checkpoints: 4,
    flags_of_modes: 12,
    config_file: 4,
    config_override: 8,
    **SOURCE_DOORS,
    **FLAG_DOORS,
    **STRANGERS_DOORS,
    **REQUEST_DOORS,
    **PAGE_DOORS,
    **LORA_DOORS,
    **SERVER_DOORS,
}
DOORS |= changing_doors(DOORS)
