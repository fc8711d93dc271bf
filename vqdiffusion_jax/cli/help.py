"""What ``--help`` prints, and what is said of a flag that no mode takes, or another one.

A mode takes the flags of its own groups ("mode NAME", "mode NAME: what they are about"), those that its module names in
``SHARED``, and --mode.
"""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Iterable, Mapping
from types import ModuleType

from absl import flags

WIDTH = 120
_COLUMN = 24  # where descriptions begin
EXAMPLES = {
    "sample": '--prompt="a red apple"',
    "convert": "--checkpoint=ithq_learnable.pth --out=models/ithq",
    "train": "--config=configs/emoji.py --codec=runs/vqgan_emoji/model --workdir=runs/emoji",
    "train_vqgan": "--config=configs/vqgan_emoji.py --workdir=runs/vqgan_emoji",
    "tokenize": "--config=configs/emoji.py --codec=runs/vqgan_emoji/model --out=runs/scene_tokens",
    "eval": "--protocol=emoji --data_root=data/emoji --what=likelihood --out=eval/emoji",
    "reduce_codebook": "--config=configs/vqgan_emoji.py --codec=runs/vqgan_emoji/model --out=kept_codes.npy",
    "demo": "--port=8080",
    "step_schedule": "--report=eval/emoji/report.json --steps=10",
}
_COMMON = ("all modes", "checkpoints", "several processes")  # groups that belong to no one mode


def usage(modules: Mapping[str, ModuleType], mode: str | None = None) -> str:
    """The flags of ``mode``, or those of every mode, each with its default; ``modules``: the module of every mode."""
    groups = _groups()
    lines = [f"python main.py --mode={mode or 'MODE'} [--flag=value ...]", ""]
    if mode:
        lines += [_summary(modules[mode]), f"For example: python main.py --mode={mode} {EXAMPLES[mode]}"]
        shown = {name: members for name, members in groups.items() if _is_of(name, mode)}
        shown["shared with other modes"] = [flags.FLAGS[name] for name in modules[mode].SHARED]
        return "\n".join(lines + [line for name, members in shown.items() for line in _section(name, members)])
    lines += [line for name, module in modules.items() for line in _entry(f"--mode={name}", _summary(module))]
    lines += [
        "",
        f"For example: python main.py {EXAMPLES['sample']}",
        "The flags of one mode alone: python main.py --mode=sample --help",
    ]
    for name in _COMMON:
        lines += _section(name, groups[name])
    for one, module in modules.items():
        for name in groups:
            if _is_of(name, one):
                lines += _section(name, groups[name])
        also = "mode " + one + " also takes " + ", ".join(f"--{name}" for name in module.SHARED)
        lines += ["", *textwrap.wrap(also, WIDTH, subsequent_indent="    ", break_on_hyphens=False)]
    return "\n".join(lines)


def check_taken(modules: Mapping[str, ModuleType], mode: str) -> None:
    """Raise ValueError, naming it, for a flag given that ``mode`` does not take."""
    taken = {one: _taken(one, module) for one, module in modules.items()}
    for flag in _ours():
        if flag.present and flag.name not in taken[mode]:
            others = " or ".join(one for one, names in taken.items() if flag.name in names)
            raise ValueError(
                f"--{flag.name} goes with --mode={others}, not {mode}; python main.py --mode={mode} --help lists its flags"
            )


def unknown_flag(name: str) -> str:
    """One line about a flag that is not there, with the nearest one that is."""
    known = [flag.name for flag in _ours()]
    known += [f"no{flag.name}" for flag in _ours() if flag.boolean]
    near = difflib.get_close_matches(name, known, n=1)
    return f"unknown flag --{name}; " + (
        f"did you mean --{near[0]}?" if near else "python main.py --help lists the known ones"
    )


def _groups() -> dict[str, list[flags.Flag]]:
    """Our flags by group; every library's are left out."""
    found = flags.FLAGS.flags_by_module_dict()
    return {name: members for name, members in found.items() if name in _COMMON or name.startswith("mode ")}


def _ours() -> list[flags.Flag]:
    return [flag for members in _groups().values() for flag in members]


def _is_of(group: str, mode: str) -> bool:
    return group.partition(":")[0] == f"mode {mode}"


def _taken(mode: str, module: ModuleType) -> set[str]:
    own = {flag.name for name, members in _groups().items() if _is_of(name, mode) for flag in members}
    return own | set(module.SHARED) | {"mode"}


def _summary(module: ModuleType) -> str:
    """What the mode is for, from the first line of its module's docstring."""
    return module.__doc__.partition("``: ")[2].splitlines()[0]


def _section(title: str, members: Iterable[flags.Flag]) -> list[str]:
    return ["", f"{title}:", *(line for flag in members for line in _entry(_typed(flag), _described(flag)))]


def _entry(name: str, description: str) -> list[str]:
    text = textwrap.wrap(description, WIDTH - _COLUMN, break_on_hyphens=False)
    name = f"  {name}"
    first = [f"{name:<{_COLUMN}}{text.pop(0)}"] if len(name) < _COLUMN else [name]
    return first + [" " * _COLUMN + line for line in text]


def _typed(flag: flags.Flag) -> str:
    """The flag as it is typed, with the values it is confined to."""
    values = getattr(flag.parser, "enum_values", None)
    return f"--[no]{flag.name}" if flag.boolean else f"--{flag.name}" + (f"={'|'.join(values)}" if values else "")


def _described(flag: flags.Flag) -> str:
    """Its help, without what absl puts before and after it, and its default, which may also be told in the help's own words."""
    words = flag.help.partition(";\n")[0]
    if getattr(flag.parser, "enum_values", None):
        words = words.partition(">: ")[2]
    default = flag.default
    if default is None or default == []:
        return words if "default" in words.lower() else f"{words} [none]"
    return f"{words} [{','.join(map(str, default)) if isinstance(default, list) else default}]"
