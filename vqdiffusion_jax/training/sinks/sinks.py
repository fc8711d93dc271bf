"""All sinks of a run as one, which never ends the run."""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import one_line
from ...files import write_whole
from ...user_files import read_json
from .sink import MetricSink, Run, sink_class

FILE = "reported.json"


class Sinks:
    """The sinks that ``names`` name, opened for a run.  A sink that fails is told to ``log`` and left out from then on.

    folder, first_step, config: as in ``Run``.  ``reported.json`` in the folder keeps the run's id and how far each sink
    got, so that a run that goes on after it was killed reports nothing twice.
    Raises ConfigError, before any sink is opened, for a name whose class or package cannot be had.
    """

    def __init__(
        self, names: Iterable[str], folder: Path, first_step: int, config: Mapping[str, Any], log: Callable[[str], None]
    ):
        classes = {name: sink_class(name) for name in names}
        self._path, self._log = folder / FILE, log
        self._open: dict[str, MetricSink] = {}
        if not classes:
            return
        kept = _kept(self._path)
        self._id, self._sent = kept.get("id") or secrets.token_hex(8), kept.get("sent") or {}
        self._before = {name: sent for name, sent in self._sent.items() if name in classes}
        run = Run(folder=folder, name=folder.name, id=self._id, first_step=first_step, config=config)
        for name, cls in classes.items():
            if getattr(cls, "replaces", False):
                self._before.pop(name, None)
            try:
                self._open[name] = cls(run)
            except Exception as error:
                self._failed(name, error)
        self._keep()

    def scalars(self, step: int, values: Mapping[str, Any]) -> None:
        """Hand on the values that are numbers."""
        numbers = {
            name: float(value)
            for name, value in values.items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }
        for name in list(self._open):
            if new := {key: numbers[key] for key in numbers if not self._was_sent(name, step, key)}:
                self._send(name, step, new, lambda sink, new=new: sink.scalars(step, new))

    def image(self, step: int, name: str, pixels: np.ndarray) -> None:
        """Hand on a picture (height, width, 3) uint8."""
        for sink_name in list(self._open):
            if not self._was_sent(sink_name, step, name):
                self._send(sink_name, step, (name,), lambda sink: sink.image(step, name, pixels))

    def close(self, failed: bool) -> None:
        for name, sink in list(self._open.items()):
            try:
                sink.close(failed)
            except Exception as error:
                self._failed(name, error)
        self._open.clear()

    def _was_sent(self, sink: str, step: int, name: str) -> bool:
        before = self._before.get(sink)
        return before is not None and (step < before["step"] or (step == before["step"] and name in before["names"]))

    def _send(self, name: str, step: int, keys: Iterable[str], send: Callable[[MetricSink], None]) -> None:
        try:
            send(self._open[name])
        except Exception as error:
            self._failed(name, error)
            return
        sent = self._sent.get(name)
        names = sent["names"] if sent is not None and sent["step"] == step else []
        self._sent[name] = {"step": step, "names": sorted({*names, *keys})}
        self._keep()

    def _keep(self) -> None:
        with write_whole(self._path) as place:
            place.write_text(json.dumps({"id": self._id, "sent": self._sent}) + "\n")

    def _failed(self, name: str, error: Exception) -> None:
        self._open.pop(name, None)
        self._log(
            f"report_to: {name} failed ({type(error).__name__}: {one_line(error)}); nothing more goes there in this "
            "run, metrics.jsonl has all of it"
        )


def _kept(path: Path) -> dict[str, Any]:
    """Return what ``reported.json`` says; {} if it is absent or damaged, as by a copy that was cut short."""
    try:
        found = read_json(path)
    except (OSError, ValueError):
        return {}
    sent = found.get("sent") if isinstance(found, dict) else None
    whole = isinstance(sent, dict) and all(
        isinstance(one, dict) and type(one.get("step")) is int and isinstance(one.get("names"), list)
        for one in sent.values()
    )
    return found if whole and isinstance(found.get("id"), str) else {}


def flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested tables as one, with dotted names."""
    found: dict[str, Any] = {}
    for name, value in table.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value
    return found


def finite(values: Mapping[str, float]) -> dict[str, float]:
    """Return the numbers that are neither infinite nor NaN, as databases take no others."""
    return {name: value for name, value in values.items() if math.isfinite(value)}
