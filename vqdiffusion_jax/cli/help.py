"""The text of ``--help``, and the errors about flags that no mode, or only another mode, takes.

A mode takes the flags of its own groups ("mode NAME", "mode NAME: SUBJECT"), those that its module lists in ``SHARED``,
and those of all modes.
"""

from __future__ import annotations

import difflib
import re
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from types import ModuleType
from typing import Any

from absl import flags

from ..errors import UsageError, one_line

WIDTH = 120
_COLUMN = 24  # where descriptions begin
_NUMBERS = {  # what int and float say
    r"invalid literal for int\(\) with base \d+: .*": "it must be a whole number",
    r"could not convert string to float: .*": "it must be a number",
    r"Exceeds the limit \(\d+ digits\) for integer string conversion.*": "it has too many digits",
}
EXAMPLES = {
    "sample": '--prompt="a red apple"',
    "fetch": "--released=coco_learnable.pth --out=models",
    "convert": "--checkpoint=ithq_learnable.pth --out=models/ithq",
    "train": "--config=configs/emoji.py --codec=runs/vqgan_emoji/model --workdir=runs/emoji",
    "train_vqgan": "--config=configs/vqgan_emoji.py --workdir=runs/vqgan_emoji",
    "tokenize": "--config=configs/emoji.py --codec=runs/vqgan_emoji/model --out=runs/scene_tokens",
    "inspect": "--config=configs/coco.py --codec=models/ithq/codec --out=looked_at",
    "eval": "--protocol=emoji --data_root=data/emoji --what=likelihood --out=eval/emoji",
    "reduce_codebook": "--config=configs/vqgan_emoji.py --codec=runs/vqgan_emoji/model --out=kept_codes.npy",
    "demo": "--port=8080",
    "serve": "--checkpoint=models/ithq --port=8080",
    "compile": "--checkpoint=models/ithq --target=v5e:2x2 --batch_size=8 --out=ithq-v5e.compiled",
    "step_schedule": "--report=eval/emoji/report.json --steps=10",
    "flax_to_diffusers": "--checkpoint=models/ithq --out=models/ithq_diffusers",
    "env": "--debug",
}
_ALL = "all modes"
_COMMON = (_ALL, "checkpoints", "several processes", "profiling", "servers", "API")  # groups of several modes
_COMMAND = "python main.py"


def command_of(program: str) -> str:
    """Return the command that was typed, for help and messages, from the program's name in ``sys.argv``."""
    path = PurePath(program)
    if path.name == "__main__.py":
        return "python -m vqdiffusion_jax"
    if path.suffix == ".py":
        return f"python {program}"
    return path.name.removesuffix(".exe") if path.name and not path.name.startswith("-") else _COMMAND


def usage(modules: Mapping[str, ModuleType], mode: str | None = None, command: str = _COMMAND) -> str:
    """Return the flags of ``mode``, or those of every mode, each with its default.

    modules: the module of every mode.  command: as it was typed.
    """
    groups = _groups()
    lines = [f"{command} --mode={mode or 'MODE'} [--flag=value ...]", ""]
    if mode:
        lines += [_summary(modules[mode]), f"For example: {command} --mode={mode} {EXAMPLES[mode]}"]
        shown = {name: members for name, members in groups.items() if _is_of(name, mode)}
        shown["shared with other modes"] = [flags.FLAGS[name] for name in modules[mode].SHARED]
        shown[_ALL] = groups[_ALL]
        return "\n".join(
            lines + [line for name, members in shown.items() if members for line in _section(name, members)]
        )
    lines += [line for name, module in modules.items() for line in _entry(f"--mode={name}", _summary(module))]
    lines += [
        "",
        f"For example: {command} {EXAMPLES['sample']}",
        f"The flags of one mode alone: {command} --mode=sample --help",
    ]
    for name in _COMMON:
        lines += _section(name, groups[name])
    for one, module in modules.items():
        for name in groups:
            if _is_of(name, one):
                lines += _section(name, groups[name])
        also = f"mode {one} also takes " + (", ".join(f"--{name}" for name in module.SHARED) or "no other flag")
        lines += ["", *textwrap.wrap(also, WIDTH, subsequent_indent="    ", break_on_hyphens=False)]
    return "\n".join(lines)


def check_taken(modules: Mapping[str, ModuleType], mode: str, command: str = _COMMAND) -> None:
    """Raise UsageError for the first given flag that ``mode`` does not take, or whose text has a null character."""
    taken = {one: _taken(one, module) for one, module in modules.items()}
    for flag in _ours():
        if flag.present and flag.name not in taken[mode]:
            others = " or ".join(one for one, names in taken.items() if flag.name in names)
            hint = f"{command} --mode={mode} --help lists its flags"
            raise UsageError(f"--{flag.name} goes with --mode={others}, not {mode}; {hint}")
        if flag.present and any(isinstance(text, str) and "\0" in text for text in _values(flag)):
            raise UsageError(f"--{flag.name} has a null character, which no text and no file's name may have")


def _values(flag: flags.Flag) -> list[Any]:
    """Return what a flag holds: its one value, or those of a list."""
    return flag.value if isinstance(flag.value, list) else [flag.value]


def refused_value(error: Exception) -> str:
    """Return one line about a value that a flag does not take, in other words than those of Python's numbers."""
    told = one_line(error)
    for pythons, ours in _NUMBERS.items():
        told = re.sub(pythons, ours, told)
    return told


def unknown_flag(name: str, command: str = _COMMAND) -> str:
    """Return one line about a flag that does not exist, with the nearest one that does."""
    known = [flag.name for flag in _ours()]
    known += [f"no{flag.name}" for flag in _ours() if flag.boolean]
    near = difflib.get_close_matches(name, known, n=1)
    return f"unknown flag --{name}; " + (
        f"did you mean --{near[0]}?" if near else f"{command} --help lists the known ones"
    )


def _groups() -> dict[str, list[flags.Flag]]:
    """Return the package's flags by group, without those of libraries."""
    found = flags.FLAGS.flags_by_module_dict()
    return {name: members for name, members in found.items() if name in _COMMON or name.startswith("mode ")}


def _ours() -> list[flags.Flag]:
    """Return all flags of the package."""
    return [flag for members in _groups().values() for flag in members]


def _is_of(group: str, mode: str) -> bool:
    """Return True if a group of flags is one of the mode's."""
    return group.partition(":")[0] == f"mode {mode}"


def _taken(mode: str, module: ModuleType) -> set[str]:
    """Return the names of the flags that a mode takes."""
    own = {flag.name for name, members in _groups().items() if _is_of(name, mode) for flag in members}
    return own | set(module.SHARED) | {flag.name for flag in _groups()[_ALL]}


def _summary(module: ModuleType) -> str:
    """Return the purpose of a mode, from the first line of its module's docstring."""
    return (module.__doc__ or "").partition("``: ")[2].splitlines()[0]


def _section(title: str, members: Iterable[flags.Flag]) -> list[str]:
    """Return the lines about a group of flags."""
    return ["", f"{title}:", *(line for flag in members for line in _entry(_typed(flag), _described(flag)))]


def _entry(name: str, description: str) -> list[str]:
    """Return the lines about one flag."""
    text = textwrap.wrap(description, WIDTH - _COLUMN, break_on_hyphens=False)
    name = f"  {name}"
    first = [f"{name:<{_COLUMN}}{text.pop(0)}"] if len(name) < _COLUMN else [name]
    if len(name) > WIDTH:
        end = name.rfind("|", 0, WIDTH) + 1
        first = [name[:end], " " * 6 + name[end:]]
    return first + [" " * _COLUMN + line for line in text]


def _typed(flag: flags.Flag) -> str:
    """Return the flag as it is typed, with the values that it may have."""
    values = getattr(flag.parser, "enum_values", None)
    return f"--[no]{flag.name}" if flag.boolean else f"--{flag.name}" + (f"={'|'.join(values)}" if values else "")


def _described(flag: flags.Flag) -> str:
    """Return the help of a flag, without absl's additions, and its default, unless the help names that."""
    words = flag.help.partition(";\n")[0]
    if getattr(flag.parser, "enum_values", None):
        words = words.partition(">: ")[2]
    default = flag.default
    if default is None or default == []:
        return words if "default" in words.lower() or words.endswith("]") else f"{words} [none]"
    return f"{words} [{','.join(map(str, default)) if isinstance(default, list) else default}]"
