"""``--costs=FILE`` records the processor seconds of every test; wall-clock times say little on a busy machine.

FILE gets a line of JSON a test.  ``own`` and ``children`` are user plus system seconds of this process and of its
ended children, with the fixtures that the test was the first to need; ``jax`` is the wall-clock share of tracing,
lowering and compiling in this process.
"""

from __future__ import annotations

import json
import resource
from collections import Counter

import pytest

EVENTS = {
    "/jax/core/compile/jaxpr_trace_duration": "trace",
    "/jax/core/compile/jaxpr_to_mlir_module_duration": "lower",
    "/jax/core/compile/backend_compile_duration": "compile",
}
_spent: Counter[str] = Counter()


def pytest_addoption(parser):
    parser.addoption("--costs", metavar="FILE", help="append processor seconds of every test to FILE")


def pytest_configure(config):
    file = config.getoption("--costs")
    if file:
        config.pluginmanager.register(Costs(file), "costs-of-tests")


class Costs:
    """Writes a line after each test."""

    def __init__(self, file: str):
        from jax import monitoring

        self.file = file
        monitoring.register_event_duration_secs_listener(self._listen)

    def _listen(self, event: str, seconds: float, **_) -> None:
        if name := EVENTS.get(event):
            _spent[name] += seconds
            _spent[f"{name}s"] += 1

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        begun, children = _processor_seconds()
        _spent.clear()
        try:
            return (yield)
        finally:
            own, theirs = _processor_seconds()
            row = {"test": item.nodeid, "own": round(own - begun, 2), "children": round(theirs - children, 2)}
            jax = {name: round(value, 2) for name, value in _spent.items()}
            with open(self.file, "a", encoding="utf-8") as file:
                file.write(json.dumps(row | {"jax": jax}) + "\n")


def _processor_seconds() -> tuple[float, float]:
    """User and system time so far, of this process and of its children."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    own, children = (usage.ru_utime + usage.ru_stime for usage in usages)
    return own, children
