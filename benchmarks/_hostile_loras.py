"""Adapters behind ``--lora``, and training of adapters with hostile settings or from a damaged base."""

from __future__ import annotations

import dataclasses
import json
import shutil
from typing import TYPE_CHECKING, Any

import jax

from benchmarks import _hostile_mutations as mutate
from benchmarks._hostile_commands import run_command
from benchmarks._hostile_strangers import of_lora
from vqdiffusion_jax.config import to_dict
from vqdiffusion_jax.lora_files import write_lora
from vqdiffusion_jax.model_folder import read_config
from vqdiffusion_jax.models.lora import init
from vqdiffusion_jax.models.shapes import shapes_of
from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel
from vqdiffusion_jax.sharding import make_mesh
from vqdiffusion_jax.training.config import LoRAConfig
from vqdiffusion_jax.training.config_dict import train_config_dict
from vqdiffusion_jax.training.denoiser.config import train_config
from vqdiffusion_jax.training.denoiser.init_from import load_pretrained
from vqdiffusion_jax.training.denoiser.state import abstract_state

if TYPE_CHECKING:
    from benchmarks._hostile_case import Case

_WEIGHTS = ("", ":1", ":0", ":-3", ":nan", ":inf", ":1e999", ":", "::", ":0.5:0.5", ":x", ":\x1b[31m", ":" + "9" * 5000)
_TARGETS = (
    "query", "cross_attention.query", "self_attention.none", "up", "", ".", "blocks", "*", "x" * 9000, "\n",
    "__class__",
    "mlp.up", "query.kernel", "\x1b[31m", None, 5, ["query"],
)  # fmt: skip


def lora_flags(case: Case) -> None:
    """A sampling command, up to where it would draw, with adapters that are damaged or weigh too much."""
    arguments = ["--mode=sample", "--dry_run", "--prompt=a cat", f"--checkpoint={case.whole / 'model'}"]
    for number in range(case.draw.choice((1, 1, 2, 30))):
        file: Any = case.whole / "strangers" / "lora.safetensors"
        if case.draw.random() < 0.7:
            damaged = case.damaged("strangers/lora.safetensors", lambda data: of_lora(data, case.draw))
            name = case.draw.choice(
                (f"{number}.safetensors", f"{number}:2.safetensors", f"{number}", f"\u202e{number}")
            )
            file = damaged.rename(case.place / name)
        if case.draw.random() < 0.15:
            folder = case.place / f"folder{number}"
            folder.mkdir()
            if case.draw.random() < 0.7:
                shutil.move(file, folder / "lora.safetensors") if case.place in file.parents else None
            file = folder
        arguments.append(f"--lora={file}{case.draw.choice(_WEIGHTS)}")
    run_command(case, *arguments)


def lora_training(case: Case) -> None:
    """A configuration that trains an adapter, up to the state that it would begin with, and the base it adapts."""
    model = read_config(case.whole / "model")
    table = {"rank": case.draw.choice((1, 2, 4)), "alpha": 4.0, "targets": ["query", "cross_attention.value"]}
    table = mutate.of_tree(table, case.draw) if case.draw.random() < 0.6 else table
    if isinstance(table, dict) and case.draw.random() < 0.5:
        table["targets"] = [case.draw.choice(_TARGETS) for _ in range(case.draw.choice((0, 1, 2, 5000)))]
    if isinstance(table, dict) and case.draw.random() < 0.2:
        table["rank"] = case.draw.choice((2**20, 2**31, 2**63, 10**400, -1, True, 2.0))
    whole = train_config_dict(model=to_dict(model), batch_size=4, steps=1).to_dict()
    whole["data"] |= {"source": "folder", "root": str(case.whole / "pictures")}
    if case.draw.random() < 0.3:
        whole |= case.draw.choice((
            {"train_text_encoder": True}, {"optimizer": {"name": "adafactor"}}, {"frozen_dtype": "float8"},
            {"compute": {"fp8": True}}, {"mesh": {"data": -1, "fsdp": 7, "tensor": 1}},
        ))  # fmt: skip
    config = train_config(whole | {"lora": table})
    abstract_state(config, make_mesh())
    if case.draw.random() < 0.5:
        folder = case.folder("model", ("config.json",))
        load_pretrained(config, init_from=case.draw.choice((folder, folder / "none", case.whole / "checkpoint.pth")))


def lora_of_another_shape(case: Case) -> None:
    """A whole adapter of a model that is not this one, or of odd numbers, behind ``--lora``."""
    model = read_config(case.whole / "model")
    changes = {name: case.draw.choice((1, 2, 3, 8)) for name in case.draw.sample(("depth", "hidden", "num_heads"), 1)}
    known = {field.name for field in dataclasses.fields(model.denoiser)}
    changes = {name: value for name, value in changes.items() if name in known}
    other = dataclasses.replace(model, denoiser=dataclasses.replace(model.denoiser, **changes))
    config = LoRAConfig(rank=case.draw.choice((1, 7, 64, 2000)), alpha=case.draw.choice((0.0, 1e6)))
    denoiser = shapes_of(VQDiffusionModel, other).denoiser
    adapter = init(
        denoiser, rank=config.rank, alpha=config.alpha, targets=("query", "out", "up"), key=jax.random.key(0)
    )
    file = case.place / "other.safetensors"
    write_lora(file, adapter, base=case.draw.choice(("\x1b[31m", "x" * 10**5, None, json.dumps({}), 10**300)))
    command = ("--mode=sample", "--dry_run", "--prompt=a cat", f"--checkpoint={case.whole / 'model'}")
    run_command(case, *command, f"--lora={file}")


LORA_DOORS = {lora_flags: 5, lora_training: 8, lora_of_another_shape: 2}
