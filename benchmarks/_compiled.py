"""Programs compiled ahead of time for a chip that is not here, and the report of what was read in them."""

from __future__ import annotations

import argparse
import json
import re
import time
from pathlib import Path
from typing import Any

# Of an instruction's line in an optimised HLO module: the scopes that it comes from, and the parts of a loop.
OPERATION = re.compile(r'op_name="([^"]+)"')
LOOP = re.compile(r"condition=%?([\w.\-]+), body=%?([\w.\-]+)")
HEAVIEST = 20  # kernels that a report lists
_OF_THIS_MACHINE = ("out", "keep_text")  # options that are paths


def compiled(function: Any, arguments: tuple, platform: str, options: dict[str, str] | None = None) -> Any:
    """Return ``function`` compiled for the devices of its arguments, shapes.

    platform: "tpu" or "cuda".  options: of that platform's compiler.
    """
    import jax

    jitted = function if hasattr(function, "trace") else jax.jit(function)
    return jitted.trace(*arguments).lower(lowering_platforms=(platform,)).compile(compiler_options=options or None)


def read(
    name: str,
    function: Any,
    arguments: tuple,
    platform: str,
    keep_text: Path | None,
    options: dict[str, str] | None = None,
) -> tuple[str, Any, dict]:
    """Compile a program; return its text, the program and the first columns of its row.

    keep_text: a folder for the text, or None.
    """
    started, worked = time.perf_counter(), time.process_time()
    program = compiled(function, arguments, platform, options)
    seconds, worked = time.perf_counter() - started, time.process_time() - worked
    text, memory = program.as_text(), program.memory_analysis()
    if keep_text:
        keep_text.mkdir(parents=True, exist_ok=True)
        (keep_text / f"{name}.hlo").write_text(text)
    row = {
        "program": name,
        "compile_seconds": round(seconds, 1),
        "compile_cpu_seconds": round(worked, 1),  # of all threads; other programs do not lengthen it as they do seconds
        "argument_bytes": memory.argument_size_in_bytes,
        "temporary_bytes": memory.temp_size_in_bytes,
    }
    return text, program, row


def write(record: dict[str, Any], page: str, options: argparse.Namespace) -> None:
    """Write OUT.json, ``record`` with the options but for paths of this machine, and OUT.md, if OUT was named."""
    if not options.out:
        return
    options.out.parent.mkdir(parents=True, exist_ok=True)
    named = {name: value for name, value in vars(options).items() if name not in _OF_THIS_MACHINE}
    record = {name: value for name, value in record.items() if name != "rows"} | named | {"rows": record["rows"]}
    options.out.with_suffix(".json").write_text(json.dumps(record, indent=1, default=str) + "\n")
    options.out.with_suffix(".md").write_text(page + "\n")
