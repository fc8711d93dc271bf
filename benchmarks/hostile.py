"""Damaged and hostile inputs: every one ends in a result or in one line, soon, in little memory, and runs no code.

    python -m benchmarks.hostile --count=10000 --seed=0 --out=docs/results/hostile.md

Each case damages a whole file or folder, or forges one, and hands it to a function that reads it. Cases run in child
processes that are watched: one that takes 10 seconds of processor time, waits 10 seconds for anything but a processor,
or takes 1 GiB more memory is ended. ``--only=N`` runs one case in this process and shows its error.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import faulthandler
import json
import os
import platform
import random
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SECONDS, WAITING, BYTES = 10.0, 10.0, 2**30
CLEAN, ACCEPTED, TRACEBACK, HANG, MEMORY, CODE, HALF = (
    "one line", "accepted", "traceback", "over 10 s", "over 1 GiB", "code run", "half written",
)  # fmt: skip
DIED = "died"
OUTCOMES = (CLEAN, ACCEPTED, TRACEBACK, HANG, MEMORY, CODE, HALF, DIED)
LONGEST_LINE = 4000  # characters of a message


@dataclass(frozen=True)
class Result:
    """The outcome of a case."""

    number: int
    door: str
    outcome: str
    detail: str = ""


def main() -> int:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--count", type=int, default=200, help="number of cases")
    arguments.add_argument("--seed", type=int, default=0, help="another seed tries other damage")
    arguments.add_argument("--doors", default="", help="only these, with commas between")
    arguments.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    arguments.add_argument("--only", type=int, help="the number of one case to run and show")
    arguments.add_argument("--keep", type=Path, help="a file of results as they come; the same command goes on there")
    arguments.add_argument("--out", type=Path, help="also write the table to this Markdown file")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        doors = tuple(name for name in options.doors.split(",") if name)
        if options.only is not None:
            whole = specimens(Path(folder))
            return show(options.seed, options.only, doors, whole, Path(folder))
        processes = options.processes
        kept = Kept(options.keep)
        results = run(options.seed, options.count, doors=doors, processes=processes, folder=Path(folder), kept=kept)
        page = render(results, options.seed)
    print(page)
    if options.out:
        options.out.write_text(page + "\n", encoding="utf-8")
    return int(any(result.outcome not in (CLEAN, ACCEPTED) for result in results))


class Kept:
    """Results in a file, a line each; nowhere but in memory without one."""

    def __init__(self, file: Path | None):
        self._file, lines = file, []
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            lines = file.read_text().splitlines() if file.exists() else []
        self.results = [Result(**json.loads(line)) for line in lines]

    def add(self, result: Result) -> None:
        self.results.append(result)
        if self._file is not None:
            with self._file.open("a") as file:
                file.write(json.dumps(dataclasses.asdict(result)) + "\n")


def specimens(folder: Path) -> Path:
    """Write the whole files in a process of its own, as JAX must not have threads when children are forked."""
    whole = folder / "whole"
    code = "import sys, pathlib; from benchmarks._hostile_specimens import make; make(pathlib.Path(sys.argv[1]))"
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "-W", "ignore", "-c", code, str(whole)], check=True, env=environment)
    return whole


def run(
    seed: int,
    count: int,
    *,
    doors: tuple[str, ...] = (),
    processes: int = 2,
    folder: Path,
    whole: Path | None = None,
    kept: Kept | None = None,
) -> list[Result]:
    """Run those of ``count`` cases of which no result is kept, and return the results of all in order."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    whole = whole or specimens(folder)
    import benchmarks._hostile_doors  # noqa: F401  the children find everything imported

    kept = kept or Kept(None)
    left = sorted({*range(count)} - {result.number for result in kept.results})
    with _servers(doors, whole):
        places = [_Lane(seed, doors, whole, folder / f"lane{lane}", left[lane::processes]) for lane in range(processes)]
        while any(lane.working for lane in places):
            for lane in places:
                for result in lane.poll():
                    kept.add(result)
            time.sleep(0.02)
    return sorted(kept.results, key=lambda result: result.number)


def _servers(doors: tuple[str, ...], whole: Path) -> contextlib.AbstractContextManager[None]:
    """Return the context in which the servers run that the doors ask and do not start themselves."""
    from benchmarks._hostile_doors import DOORS
    from benchmarks._hostile_page import PAGE_DOORS, page_served

    asked = any(door in PAGE_DOORS and (not doors or door.__name__ in doors) for door in DOORS)
    return page_served(whole) if asked else contextlib.nullcontext()


class _Lane:
    """A child process that runs some of the cases, and is replaced when it has to be ended."""

    def __init__(self, seed: int, doors: tuple[str, ...], whole: Path, folder: Path, numbers: list[int]):
        self._seed, self._doors, self._whole, self._folder, self._numbers = seed, doors, whole, folder, numbers
        self._next = 0
        self._text = b""
        self.working = bool(numbers)
        if self.working:
            self._start()

    def _start(self) -> None:
        self._pipe, write = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                os.close(self._pipe)
                _work(self._seed, self._doors, self._whole, self._folder, self._numbers[self._next :], write)
            finally:
                os._exit(0)
        os.close(write)
        self._text = b""
        self._rest()

    def _rest(self) -> None:
        """Note the time and the memory at which a case begins."""
        self._looked, self._waited = time.monotonic(), 0.0
        self._worked, self._resting = _worked(self._pid), _resident(self._pid)

    def poll(self) -> Iterator[Result]:
        """Yield the results that have arrived; end the child if its case takes too long or too much."""
        if not self.working:
            return
        ended = False
        while select.select([self._pipe], [], [], 0)[0]:
            data = os.read(self._pipe, 65536)
            if not data:
                ended = True
                break
            self._text += data
        *lines, self._text = self._text.split(b"\n")
        for line in lines:
            outcome, _, detail = line.decode(errors="replace").partition(" | ")
            yield self._result(outcome, detail)
            self._rest()
        if self._next == len(self._numbers):
            self._finish()
            return
        reason, before, self._looked = None, self._looked, time.monotonic()
        if _waits(self._pid):  # on a busy machine many seconds may pass in which it only waits for a processor
            self._waited += self._looked - before
        if self._waited > WAITING or _worked(self._pid) - self._worked > SECONDS:
            reason = HANG
        elif _resident(self._pid) - self._resting > BYTES:
            reason = MEMORY
        if reason:
            os.kill(self._pid, signal.SIGKILL)
        if reason or ended:
            _, status = os.waitpid(self._pid, 0)
            os.close(self._pipe)
            yield self._result(reason or DIED, "" if reason else f"status {status}")
            if self._next < len(self._numbers):
                self._start()
            else:
                self.working = False

    def _result(self, outcome: str, detail: str) -> Result:
        number = self._numbers[self._next]
        self._next += 1
        return Result(number, door_of(self._seed, number, self._doors), outcome, detail)

    def _finish(self) -> None:
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._pipe)
        self.working = False


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
    except (OSError, IndexError):
        return 0


def _waits(pid: int) -> bool:
    """Return whether no thread of a process runs or could."""
    try:
        stats = [Path(f"/proc/{pid}/task/{thread}/stat").read_text() for thread in os.listdir(f"/proc/{pid}/task")]
    except OSError:
        return False
    return not any(stat.rpartition(")")[2].split()[0] == "R" for stat in stats)


def _worked(pid: int) -> float:
    """Return the processor time of a process in seconds."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError):
        return 0.0


def _work(seed: int, doors: tuple[str, ...], whole: Path, folder: Path, numbers: list[int], out: int) -> None:
    """Run cases one after another and write a line about each."""
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    warnings.simplefilter("ignore")
    for number in numbers:
        outcome, detail = outcome_of(seed, number, doors, whole, folder)[:2]
        os.write(out, f"{outcome} | {detail}".encode("utf-8", "replace").replace(b"\n", b" ")[:2000] + b"\n")


def door_of(seed: int, number: int, doors: tuple[str, ...]) -> str:
    """Return the name of the door that a case is handed to."""
    from benchmarks._hostile_doors import DOORS

    weights = {door.__name__: weight for door, weight in DOORS.items() if not doors or door.__name__ in doors}
    return random.Random(f"{seed}/{number}/door").choices(list(weights), list(weights.values()))[0]


def outcome_of(
    seed: int, number: int, doors: tuple[str, ...], whole: Path, folder: Path
) -> tuple[str, str, BaseException | None]:
    """Run a case in this process; return its outcome, a detail, and the error that it ended with."""
    from benchmarks._hostile_case import Case
    from benchmarks._hostile_doors import DOORS

    name = door_of(seed, number, doors)
    door = next(door for door in DOORS if door.__name__ == name)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    canary = folder.parent / f"canary{os.getpid()}"
    case = Case(folder, whole, random.Random(f"{seed}/{number}"), canary, [])
    begun, error, resting = time.process_time(), None, _peak(reset=True)
    try:
        door(case)
        outcome, detail = ACCEPTED, ""
    except BaseException as caught:
        error = caught
        outcome, detail = (CLEAN, "") if _is_one_line(caught) else (TRACEBACK, _where(caught))
    seconds, taken = time.process_time() - begun, _peak() - resting
    left = [path.name for path in folder.iterdir() if path.name.startswith(".") and path.name.count(".") > 1]
    if canary.exists():
        outcome, detail = CODE, ""
    elif left or (error is not None and any(path.exists() for path in case.writes)):
        outcome, detail = HALF, ", ".join(left)
    elif seconds > SECONDS:
        outcome, detail = HANG, f"{seconds:.0f} s"
    elif taken > BYTES:
        outcome, detail = MEMORY, f"{taken / 2**20:.0f} MiB"
    return outcome, detail, error


def _peak(*, reset: bool = False) -> int:
    """Return the largest resident size since the last reset, in bytes."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def _is_one_line(error: BaseException) -> bool:
    """Return whether the command line tells the error in one printable line of bounded length."""
    from vqdiffusion_jax import errors
    from vqdiffusion_jax.exit_status import describe, told

    known = tuple(kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception))
    ours = isinstance(error, known) or isinstance(error, OSError)
    if not ours and isinstance(error, ValueError):  # raised by a sentence of the package, not by a library
        ours = "vqdiffusion_jax" in traceback.extract_tb(error.__traceback__)[-1].filename
    if not ours or not isinstance(error, Exception):
        return False
    if describe(error) is None:
        return False
    said = told(error)  # which cuts long words and lines
    return "\n" not in said and "\x1b" not in said and len(said) <= LONGEST_LINE


def _where(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "vqdiffusion_jax" in frame.filename] or list(frames)
    place = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else ""
    return f"{type(error).__name__} at {place}: {' '.join(str(error).split())[:150]}"


def show(seed: int, number: int, doors: tuple[str, ...], whole: Path, folder: Path) -> int:
    """Run one case here, and print its error in full; the stack after a minute."""
    import benchmarks._hostile_doors  # noqa: F401  outside of the minute

    faulthandler.dump_traceback_later(60, exit=True)
    with _servers((door_of(seed, number, doors),), whole):
        outcome, detail, error = outcome_of(seed, number, doors, whole, folder / "place")
    print(f"case {number}, {door_of(seed, number, doors)}: {outcome} {detail}")
    if error is not None:
        traceback.print_exception(error)
    return int(outcome not in (CLEAN, ACCEPTED))


def render(results: list[Result], seed: int) -> str:
    """Return the table of doors and outcomes, and a line for every case that is not as it should be."""
    counts = collections.Counter((result.door, result.outcome) for result in results)
    names = sorted({result.door for result in results})
    lines = [
        "# Damaged and hostile inputs",
        "",
        f"`python -m benchmarks.hostile --count={len(results)} --seed={seed}`: {len(results)} cases with "
        f"Python {platform.python_version()}. Only the first two columns may hold anything but 0.",
        "",
        "| read by | " + " | ".join(OUTCOMES) + " |",
        "|---|" + "---:|" * len(OUTCOMES),
    ]
    for name in names:
        lines.append(f"| {name} | " + " | ".join(str(counts[name, outcome]) for outcome in OUTCOMES) + " |")
    totals = [sum(counts[name, outcome] for name in names) for outcome in OUTCOMES]
    lines.append("| all | " + " | ".join(map(str, totals)) + " |")
    bad = [result for result in results if result.outcome not in (CLEAN, ACCEPTED)]
    if bad:
        lines += ["", "Run one again with `--only=N` and the same seed and doors:", ""]
        lines += [f"- {r.number}, {r.door}: {r.outcome} {r.detail}" for r in bad]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
