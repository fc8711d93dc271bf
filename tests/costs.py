"""``--costs=FILE`` records the processor seconds of every test; wall-clock times say little on a busy machine.

``python -m tests.costs FILE`` reads that and lists in tests/medium.txt the files of tests that take long; their tests
are marked ``medium``, and ``make check`` leaves them out.  Whole files, because tests of a file share fixtures, whose
cost falls on the test that comes first.

FILE gets a line of JSON a test.  ``own`` and ``children`` are user plus system seconds of this process and of its
ended children, with the fixtures that the test was the first to need; ``jax`` is the wall-clock share of tracing,
lowering and compiling in this process.
"""

from __future__ import annotations

import json
import resource
import sys
from collections import Counter
from pathlib import Path

import pytest

EVENTS = {
    "/jax/core/compile/jaxpr_trace_duration": "trace",
    "/jax/core/compile/jaxpr_to_mlir_module_duration": "lower",
    "/jax/core/compile/backend_compile_duration": "compile",
}
MEDIUM = Path(__file__).with_name("medium.txt")
LIMIT = 8.0  # processor seconds of a fast file, from an empty cache of compiled programs
_spent: Counter[str] = Counter()


def pytest_addoption(parser):
    parser.addoption("--costs", metavar="FILE", help="append processor seconds of every test to FILE")


def pytest_configure(config):
    file = config.getoption("--costs")
    if file:
        config.pluginmanager.register(Costs(file), "costs-of-tests")


def medium_files() -> set[str]:
    """Return the files that tests/medium.txt lists, relative to the root of the project."""
    return {line.split()[0] for line in MEDIUM.read_text(encoding="utf-8").splitlines() if not line.startswith("#")}


@pytest.hookimpl(tryfirst=True)  # before marks are selected
def pytest_collection_modifyitems(config, items):
    files = {config.rootpath / name for name in medium_files()}
    for item in items:
        if item.path in files:
            item.add_marker(pytest.mark.medium)


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


def list_medium(costs: Path) -> None:
    """Write tests/medium.txt from recorded costs; files that were not run keep their line."""
    spent: Counter[str] = Counter()
    for line in costs.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        spent[row["test"].partition("::")[0]] += row["own"] + row["children"]
    before = MEDIUM.read_text(encoding="utf-8").splitlines()
    listed = {line.split()[0]: line for line in before if not line.startswith("#")}
    kept = [line for name, line in listed.items() if name not in spent and (MEDIUM.parents[1] / name).exists()]
    lines = kept + [f"{name}  {seconds:.0f}" for name, seconds in spent.items() if seconds > LIMIT]
    head = [line for line in before if line.startswith("#")]
    MEDIUM.write_text("\n".join(head + sorted(lines)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    list_medium(Path(sys.argv[1]))
