"""A run's records: metrics.jsonl, sinks elsewhere, and a line on the console."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ..errors import CheckpointError
from ..files import write_whole
from ..user_files import lines_of, open_regular, parse_json
from .sinks import Sinks

# Dense bfloat16 operations a second of one device, by words of JAX's name for it; the first that fits.
PEAK_FLOPS = {
    "H200": 989e12,
    "H100": 989e12,
    "A100": 312e12,
    "L4": 121e12,
    "V100": 125e12,
    "v6 lite": 918e12,
    "v6e": 918e12,
    "v5 lite": 197e12,
    "v5e": 197e12,
    "v5p": 459e12,
    "v5": 459e12,
    "v4": 275e12,
}

OF_THROUGHPUT = ("samples_per_second", "hours_left", "mfu")


def peak_flops() -> float | None:
    """Return the peak operations a second of one device of this machine; None if unknown, as for CPUs."""
    kind = jax.devices()[0].device_kind
    return next((peak for name, peak in PEAK_FLOPS.items() if re.search(rf"\b{name}\b", kind, re.IGNORECASE)), None)


class Throughput:
    """Samples a second, model FLOP utilisation and time left, over the steps since the last reading."""

    def __init__(self, flops_per_sample: float, batch_size: int, steps: int, done: int):
        self._flops, self._batch_size, self._steps = flops_per_sample, batch_size, steps
        self._since, self._done = time.perf_counter(), done

    def read(self, done: int) -> dict[str, float]:
        """Return the numbers after ``done`` steps and begin the next reading."""
        now = time.perf_counter()
        rate = (done - self._done) * self._batch_size / max(now - self._since, 1e-9)
        self._since, self._done = now, done
        numbers = {
            "samples_per_second": rate,
            "hours_left": (self._steps - done) * self._batch_size / max(rate, 1e-9) / 3600,
        }
        if self._flops and (peak := peak_flops()):
            numbers["mfu"] = rate * self._flops / (peak * jax.device_count())
        return numbers

    def restart(self, done: int) -> None:
        """Leave out the time since the last reading, which went into something else than steps."""
        self._since, self._done = time.perf_counter(), done


class MetricWriter:
    """Writes records to ``metrics.jsonl`` in ``folder`` and to sinks, on the first process alone; a context.

    first_step: where the run goes on; records of later steps, left by a run that was killed, are dropped.
    report_to: names of sinks (see ``sinks``); config, log: the configuration that they are told, and lines for people.
    Raises ConfigError for a sink that cannot be had.
    """

    def __init__(
        self,
        folder: Path,
        first_step: int,
        *,
        report_to: Iterable[str] = (),
        config: Mapping[str, Any] | None = None,
        log: Callable[[str], None] = print,
    ):
        self._active = jax.process_index() == 0
        if not self._active:
            return
        self._folder, path = folder, folder / "metrics.jsonl"
        kept = [line for line in _lines(path) if line["step"] <= first_step]
        with writing_to(folder):
            with write_whole(path) as place:
                place.write_text("".join(json.dumps(line) + "\n" for line in kept))
            self._file = open(path, "a")  # noqa: SIM115
        try:
            with writing_to(folder):
                self._sinks = Sinks(report_to, folder, first_step, config or {}, log)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> MetricWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close(failed=kind is not None)

    def write(self, step: int, values: dict[str, Any]) -> None:
        """Write one record; sinks get its numbers, but not its lists."""
        if not self._active:
            return
        with writing_to(self._folder):
            self._file.write(json.dumps({"step": step, **values}) + "\n")
            self._file.flush()
            self._sinks.scalars(step, values)

    def image(self, step: int, name: str, pixels: np.ndarray) -> None:
        """Hand a picture (height, width, 3) uint8 to the sinks."""
        if self._active:
            with writing_to(self._folder):
                self._sinks.image(step, name, pixels)

    def close(self, *, failed: bool = False) -> None:
        """Close file and sinks; ``failed``: the run ends by an error."""
        if self._active:
            self._sinks.close(failed)
            with writing_to(self._folder):  # what a full disk did not take is tried once more
                self._file.close()


@contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Turn the OSError of a full or vanished disk into a CheckpointError; existing checkpoints stay good."""
    try:
        yield
    except OSError as error:
        raise CheckpointError(
            f"{folder} cannot be written to: {error.strerror or error}; "
            "make room and start the run again, it goes on from its last checkpoint"
        ) from error


def _lines(path: Path) -> list[dict[str, Any]]:
    """Return the whole records of a file; a last one cut short by a kill is left out, and all after a damaged one."""
    found: list[dict[str, Any]] = []
    if not os.path.lexists(path):
        return found
    with open_regular(path) as file:
        text = file.read().decode("utf-8", "replace")
    for line in lines_of(text):
        try:
            record = parse_json(line, path.name)
        except ValueError:
            break
        if not isinstance(record, dict) or type(record.get("step")) is not int:
            break
        found.append(record)
    return found


def console_line(step: int, steps: int, values: dict[str, Any]) -> str:
    """Return ``step 300/6000  loss 4.1  learning rate 0.0001  62.1 samples/s  41% MFU  3.2 h left`` or the like."""
    words = [f"step {step}/{steps}"]
    words += [f"{name.replace('_', ' ')} {value:.4g}" for name, value in values.items() if name not in OF_THROUGHPUT]
    words.append(f"{values['samples_per_second']:.3g} samples/s")
    if "mfu" in values:
        words.append(f"{100 * values['mfu']:.0f}% MFU")
    return "  ".join([*words, f"{values['hours_left']:.2g} h left"])
