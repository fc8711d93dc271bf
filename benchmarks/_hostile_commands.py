"""Hostile command lines and configuration files, run in this process as ``main.py`` runs them."""

from __future__ import annotations

import contextlib
import io
import os
import random
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import grain  # noqa: F401  it defines flags, which would be forgotten with the values
from absl import flags
from absl.testing import flagsaver

from benchmarks._hostile_mutations import hostile_value
from vqdiffusion_jax.cli import run
from vqdiffusion_jax.cli.main import MODES, mode_modules
from vqdiffusion_jax.errors import UsageError
from vqdiffusion_jax.serving import server
from vqdiffusion_jax.serving.drawing import Studio

if TYPE_CHECKING:
    from benchmarks._hostile_case import Case

_WAITING = ("coordinator", "distributed", "num_processes", "process_id")  # which wait for other processes
_LIBRARIES = ("grain", "absl.", "jax", "ml_collections")  # whose flags are theirs
_VALUES = (
    "", " ", "nan", "inf", "-inf", "1e999", "-1", "0", "1", "2", "3.5", "1e3", "9" * 20, "9" * 5000, "0x10", "true",
    "None", "[]", "{}", "a,b", ",", ",,,", "1,2,3", "3,2,1", "-1,-1", "x" * 100_000, "\x1b[31m", "\n", "\0", "\udcff",
    "\u202e", "/dev/zero", "/proc/self/mem", "/", ".", "..", "~", "a:b", "os:system", "owner/name", "hf://", "hf://a/b@",
    "file.png", "text.json", "*", "%s%n", "{0.__class__}", "--mode=train",
)  # fmt: skip
_TOLD = ("warning: ", "own pictures: ")  # lines that are no errors
_LOOSE = ("--unknown=1", "loose", "-", "--", "---x", "--=", "--no", "--\x1b", "@file", "--flagfile=/dev/zero")
_FIELDS = (
    "data.root", "data.source", "data.cache", "data.drop_rate", "data.options", "data", "batch_size", "steps", "seed",
    "model", "model.denoiser.width", "model.codec.image_size", "optimizer.name", "learning_rate.peak", "ema.decay",
    "compute.dtype", "checkpoint.every", "watch.prompts", "watch", "workers", "mesh.fsdp", "x", "", "a" * 3000,
    "data.", ".data", "data..root", "__class__", "model.__dict__", "accumulation", "objective", "model.schedule.name",
)  # fmt: skip
# Arguments with which a mode gets as far as it can without drawing, training or serving.
_BASES = {
    "sample": ("--prompt=a cat", "--dry_run"),
    "convert": ("--checkpoint={whole}/checkpoint.pth", "--weights=model", "--out=out", "--quiet"),
    "train": ("--config={config}",),
    "train_vqgan": ("--config={config}",),
    "tokenize": ("--config={config}",),
    "inspect": ("--config={config}", "--config.data.root={whole}/pictures", "--out=looked"),
    "eval": ("--samples={whole}/pictures", "--out=evaluated", "--metrics=fid", "--inception={whole}/clip.pt"),
    "reduce_codebook": ("--config={config}",),
    "serve": ("--checkpoint={whole}/model", "--port={port}"),
    "step_schedule": ("--report={whole}/report.json", "--num_inference_steps=4"),
}
_CONFIG = """\
from vqdiffusion_jax.training.config_dict import train_config_dict


def get_config(text=""):
    data = dict(source="folder", root="{whole}/pictures", cache="")
    return train_config_dict(model="tiny_text", train_text_encoder=True, data=data, batch_size=4, steps=1)
"""
_LINES = (
    "raise SystemExit(0)", "raise KeyError('x')", "import nowhere", "def get_config(): return 5", "(", "\tx = 1",
    "def get_config(): return get_config()", "get_config = None", "def get_config(a, b, c): pass", "\0", "x = '\ud800'",
    "def get_config(): return {'data': 5}", "class Odd(dict): pass\ndef get_config(): return Odd(model=Odd())",
    "def get_config(): raise ValueError('a\\n\\x1b[31m' + 'b' * 100_000)",
    "assert False", "def get_config(): yield 1", "raise BaseException", "raise ExceptionGroup('', [ValueError()])",
    "def get_config():\n    return {str(i): {'a': [1] * 100} for i in range(10_000)}",
)  # fmt: skip


def flags_of_modes(case: Case) -> None:
    """A mode with hostile values of its flags, other modes' flags, unknown ones, doubled ones."""
    modules = mode_modules()
    mode = case.draw.choice([name for name in MODES if name not in ("demo", "fetch")])  # which serve, and download
    groups = {name: str(flags.FLAGS.find_module_defining_flag(name)) for name in flags.FLAGS}
    known = [name for name, group in groups.items() if not group.startswith(_LIBRARIES)]
    own = [name for name in known if f"mode {mode}" in groups[name]]
    names = [*own, *modules[mode].SHARED] or known
    arguments = [
        text.format(whole=case.whole, config=_config(case), port=case.draw.randrange(20_000, 30_000))
        for text in _BASES.get(mode, ())
    ]
    for _ in range(case.draw.choice((1, 1, 1, 2, 3, 8))):
        name = case.draw.choice(names if case.draw.random() < 0.85 else known)
        if name not in (*_WAITING, "trust", "debug"):  # --debug prints tracebacks
            arguments.append(_argument(name, case.draw))
    if case.draw.random() < 0.1:
        arguments.append(case.draw.choice(_LOOSE))
    run_command(case, f"--mode={mode}", *arguments)


def config_file(case: Case) -> None:
    """A configuration file with a hostile line in it."""
    lines = _CONFIG.format(whole=case.whole).splitlines()
    at = case.draw.randrange(len(lines) + 1)
    if case.draw.random() < 0.3 and at < len(lines):
        del lines[at]
    else:
        lines.insert(at if case.draw.random() < 0.5 else len(lines), case.draw.choice(_LINES))
    file = case.place / "config.py"
    file.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
    run_command(case, "--mode=inspect", f"--config={file}", "--out=looked")


def config_override(case: Case) -> None:
    """A field of a configuration with a hostile value, typed as ``--config.a.b=value``."""
    arguments = []
    for _ in range(case.draw.choice((1, 1, 2, 4))):
        arguments.append(f"--config.{case.draw.choice(_FIELDS)}={_value(case.draw)}")
    mode = case.draw.choice(("inspect", "train"))
    given = ("--workdir=run", "--init_from=nothing") if mode == "train" else ("--out=looked",)
    run_command(case, f"--mode={mode}", f"--config={_config(case)}", *given, *arguments)


def _config(case: Case) -> Path:
    file = case.place / "whole_config.py"
    file.write_text(_CONFIG.format(whole=case.whole))
    return file


def _argument(name: str, draw: random.Random) -> str:
    if flags.FLAGS[name].boolean and draw.random() < 0.5:
        return f"--{draw.choice(('', 'no'))}{name}"
    return draw.choice((f"--{name}={_value(draw)}",) * 8 + (f"-{name}={_value(draw)}", f"--{name}"))


def _value(draw: random.Random) -> str:
    value = draw.choice(_VALUES) if draw.random() < 0.8 else str(hostile_value(draw))
    return value.replace("\ud800", "")  # which no shell can pass


def run_command(case: Case, *arguments: str) -> None:
    """Run a command line.  Raises UsageError if it ends in one line, and RuntimeError for anything else."""
    mode_modules()  # flags that are defined below would be forgotten with the values
    said, wrong = io.StringIO(), io.StringIO()
    argv = ["main.py", *arguments]
    os.environ["HF_HUB_OFFLINE"] = "1"
    with (
        contextlib.chdir(case.place),
        mock.patch.object(server, "serve", lambda *given, **named: None),  # which would listen until it is ended
        mock.patch.object(Studio, "warm_up", lambda studio: None),
        mock.patch.object(sys, "argv", argv),
        mock.patch.object(tempfile, "tempdir", str(case.place)),  # where tracebacks are kept
        flagsaver.flagsaver(),
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(wrong),
    ):
        status = run(argv)
    if status == 0:
        return
    lines = [line for line in wrong.getvalue().splitlines() if not line.startswith(_TOLD)]
    errors = [line for line in lines if line.startswith("error: ")]
    kept = "".join(path.read_text()[-300:] for path in case.place.glob("vqdiffusion-error-*"))
    if len(lines) == len(errors) == status == 1 and not kept and lines[0].isprintable():
        raise UsageError(lines[0])
    raise RuntimeError(f"status {status}, {shortest(arguments)}: {wrong.getvalue()[:300]!r} {kept}")


def shortest(arguments: Any) -> str:
    return " ".join(text if len(text) < 60 else f"{text[:60]!r}..." for text in arguments)
