"""Several benchmarks, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

# Of a trial: one layer, one turn, the smallest batch; an option counts where a command has it.
_TRIAL = {"--models": None, "--batches": "1", "--batch": "1", "--steps": "1"}
_COMMON = ("--layers=1", "--repeats=1")
_OUT = "--out="


def run_all(
    commands: Sequence[tuple[str, ...]], names: Sequence[str], *, trial: Path | None = None, go_on: bool = False
) -> None:
    """Run each command (a module's name, then its options) of ``names``, or all; exit with a line if one fails.

    trial: run all with little work, and write to this folder.
    go_on: leave out what has written its file already.
    """
    if unknown := set(names) - {name for name, *_ in commands}:
        known = dict.fromkeys(name for name, *_ in commands)
        raise SystemExit(f"no benchmark is named {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    failed = []
    for name, *options in commands:
        if names and name not in names or trial is not None and name == "page":  # which reads what is no trial
            continue
        if trial is not None:
            options = of_trial(options, trial)
        if go_on and (done := [out for out in map(_file_of, options) if out is not None and out.exists()]):
            print(f"== {name}: {done[0]} is there already", flush=True)
            continue
        print(f"== {name} {' '.join(options)}", flush=True)
        started = time.perf_counter()
        failed += [name] if subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *options]).returncode else []
        print(f"== {name}: {time.perf_counter() - started:.0f} s", flush=True)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


def of_trial(options: Sequence[str], folder: Path) -> list[str]:
    """Return the options of a command with little work, which writes to ``folder``."""
    made = []
    for option in options:
        key, _, value = option.partition("=")
        if option.startswith(_OUT):
            value = str(folder / Path(value).name)
        made.append(f"{key}={_TRIAL.get(key) or value}" if value else option)
    return [*made, *(_COMMON if options else ())]


def _file_of(option: str) -> Path | None:
    return Path(option.removeprefix(_OUT)) if option.startswith(_OUT) else None
