"""Several benchmarks, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence


def run_all(commands: Sequence[tuple[str, ...]], names: Sequence[str]) -> None:
    """Run each command (a module's name, then its options) of ``names``, or all; exit with a line if one fails."""
    if unknown := set(names) - {name for name, *_ in commands}:
        known = dict.fromkeys(name for name, *_ in commands)
        raise SystemExit(f"no benchmark is named {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    failed = []
    for name, *options in commands:
        if names and name not in names:
            continue
        print(f"== {name} {' '.join(options)}", flush=True)
        failed += [name] if subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *options]).returncode else []
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")
