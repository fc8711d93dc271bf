"""Training runs that are killed, stopped or cut off end bit for bit like a run that nobody interrupted.

    python -m benchmarks.interruptions --interruptions=100 --out=docs/results/interruptions.md

Every run is ``python main.py --mode=train`` on pictures made here: a tiny text model whose codec and text tower run
inside the step, with validation and the best checkpoint kept; by one process with and without two workers, and by two
processes over localhost.  Interruptions are a seeded
plan of (kind, phase); the phase is read from the run's log, journal and folders, and a run is interrupted a random
while after it shows it.  One that ended before counts as no interruption and is tried again.  A folder takes several
interruptions one after another and is then trained to its end.

Linux alone: it looks at processes in /proc.  A second run starts sooner with JAX_COMPILATION_CACHE_DIR set.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import platform
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

import jax
import numpy as np
from PIL import Image

from ._interrupted_run import PHASES, REPO, Run, journal

CONFIG = """
from vqdiffusion_jax.training.config_dict import train_config_dict

def get_config():
    return train_config_dict(
        model="tiny_text", batch_size=4,
        data=dict(source="folder", root={root!r}, drop_rate=0.2, max_broken=3, read_threads=1, validation_fraction=0.2),
        steps={steps}, learning_rate=dict(start=1e-3, peak=1e-2, warmup_steps=20), ema=dict(decay=0.9, interval=5),
        compute=dict(dtype="float32", remat=False), checkpoint=dict(every={every}, keep_last=2, keep_best=1),
        watch=dict(log_every=1, eval_every={eval_every}, eval_batches=2),
        untrained_towers=True, workers={workers}, seed=3,
    )
"""
EVERY, EVAL_EVERY = 6, 8
_SCORE = "validation_bits_per_token"
A_FOLDER = 8  # interruptions before it is trained to its end
FILE_SIZE = 20_000  # bytes a file may have on the "full disk": records fit, checkpoints do not
ANYWHERE = PHASES
_KILLED_OR_LEFT = (-signal.SIGKILL, 1, -signal.SIGABRT)  # JAX aborts a process whose coordinator is gone
TRAINING = ("compilation", "steps", "save", "validation", "resuming")


@dataclass(frozen=True)
class Setting:
    """The workers and the processes of a run, each of which has as many workers."""

    workers: int = 0
    processes: int = 1

    def __str__(self) -> str:
        return f"{self.processes} with {self.workers} workers" if self.workers else str(self.processes)


ALONE, WITH_WORKERS, TWO = Setting(), Setting(workers=2), Setting(processes=2)


@dataclass(frozen=True)
class Kind:
    """A way to interrupt a run: ``act`` does it; the phases in which it makes sense; how the run must end."""

    name: str
    act: Callable[[Bench, Run, random.Random], list[str] | None]
    phases: tuple[str, ...]
    statuses: tuple[int, ...]
    says: str = ""  # a regular expression of the one line
    settings: tuple[Setting, ...] = (ALONE, WITH_WORKERS)


@dataclass
class Done:
    """One interruption as it went."""

    kind: str
    asked: str  # the phase of the plan
    phase: str  # the one in which it came
    setting: Setting
    step: int
    status: int
    faults: list[str] = field(default_factory=list)


@dataclass
class Compared:
    """A run folder that was interrupted and then trained to its end: what became of it."""

    setting: Setting
    done: list[Done]
    differences: list[str]

    def line(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def of_line(cls, line: str) -> Compared:
        table = json.loads(line)
        done = [Done(**one | {"setting": Setting(**one["setting"])}) for one in table["done"]]
        return cls(Setting(**table["setting"]), done, table["differences"])


class Bench:
    """Data, configurations and whole runs in a folder; ``interrupt`` makes the interruptions of a plan.

    What is done is recorded in the folder, and a bench that is begun there again goes on.
    """

    def __init__(self, folder: Path, seed: int, steps: int):
        self.folder, self.seed, self.steps = folder, seed, steps
        folder.mkdir(parents=True, exist_ok=True)
        self.environment = os.environ | {
            "JAX_PLATFORMS": "cpu",
            "JAX_COMPILATION_CACHE_DIR": os.environ.get("JAX_COMPILATION_CACHE_DIR", str(folder / "compiled")),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        self._record = folder / "compared.jsonl"
        lines = self._record.read_text().splitlines() if self._record.exists() else []
        self.compared = [Compared.of_line(line) for line in lines]
        self.lasts: dict[str, float] = {}
        self._one_at_a_time = threading.Lock()

    @property
    def done(self) -> list[Done]:
        return [one for compared in self.compared for one in compared.done]

    def whole(self, processes: int) -> Path:
        """Return the folder of a run that nobody interrupted; processes sum in another order, so their number tells."""
        workdir = self.folder / f"whole-{processes}"
        kept = workdir.with_suffix(".json")
        if not kept.exists():
            shutil.rmtree(workdir, ignore_errors=True)
            kept.write_text(json.dumps(self._uninterrupted(workdir, processes)))
        if processes == 1:
            self.lasts = json.loads(kept.read_text())
        return workdir

    def _uninterrupted(self, workdir: Path, processes: int) -> dict[str, float]:
        """Train without an interruption, and return about how many seconds a phase lasts that is not short."""
        run = self.start(workdir, Setting(processes=processes))
        run.until(lambda: run.phase() != "start-up")
        starting = time.perf_counter() - run.began
        run.until(lambda: run.phase() not in ("start-up", "compilation"))
        compiling = time.perf_counter() - run.began - starting
        assert run.end() == 0, run.said()
        return {"start-up": 0.9 * starting, "compilation": 0.9 * compiling, "resuming": 0.2 * starting}

    def start(self, workdir: Path, setting: Setting, *, compiled: bool = True) -> Run:
        environment = dict(self.environment)
        if not compiled:  # so that there is something to interrupt
            environment["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(dir=self.folder, prefix="compiled-")
        command = ["--mode=train", f"--config={self.config(workdir, setting.workers)}"]
        return Run(workdir, command, environment, steps=self.steps, every=EVAL_EVERY, processes=setting.processes)

    def pictures(self, workdir: Path) -> Path:
        return workdir.with_name(f"{workdir.name}-pictures")

    def config(self, workdir: Path, workers: int) -> Path:
        """Return a run's configuration file, whose pictures are its own: some runs lose them."""
        file = workdir.with_name(f"{workdir.name}-{workers}.py")
        if not file.exists():
            pictures = self.pictures(workdir)
            if not pictures.exists():
                make_pictures(pictures)
            settings = dict(steps=self.steps, every=EVERY, eval_every=EVAL_EVERY, workers=workers)
            file.write_text(CONFIG.format(root=str(pictures), **settings))
        return file

    def interrupt(self, plan: list[tuple[Kind, str, Setting]], until: float, lanes: int = 1) -> None:
        """Carry out what is left of the plan, ``lanes`` folders at a time; begin no interruption after ``until``."""
        self.whole(1)
        left = remaining(plan, self.done)
        while left and time.monotonic() < until:
            before = len(self.done)
            for processes in {setting.processes for _, _, setting in left}:
                self.whole(processes)
            numbered = enumerate(in_folders(left), len(self.compared) + 1)
            with ThreadPoolExecutor(lanes) as pool:
                list(pool.map(lambda item: self._folder(item[0], item[1], until), numbered))
            left = remaining(plan, self.done)
            if len(self.done) == before:
                raise RuntimeError(f"none of these came about: {left}")

    def _folder(self, number: int, items: list[tuple[Kind, str, Setting]], until: float) -> None:
        """Interrupt the run of one folder several times, train it to its end, and compare it."""
        workdir, moments, setting = (
            self.folder / f"interrupted-{number}",
            random.Random(f"{self.seed}/{number}"),
            items[0][2],
        )
        for path in self.folder.glob(f"interrupted-{number}*"):  # of a bench that was ended
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        done = []
        for item in items:
            if time.monotonic() < until and (one := self._one(workdir, *item, moments)):
                done.append(one)
        if not done:
            return
        run = self.start(workdir, setting)
        status = run.end()
        faults = [*run.noise(), *([] if status == 0 else [f"the last start ended with {status}", *run.errors()])]
        with self._one_at_a_time:
            compared = Compared(setting, done, faults or differences(self.whole(setting.processes), workdir))
            self.compared.append(compared)
            with self._record.open("a") as file:
                file.write(compared.line() + "\n")
            print(f"folder {number}: {len(done)} interruptions, {compared.differences or 'the same bits'}", flush=True)

    def _one(self, workdir: Path, kind: Kind, phase: str, setting: Setting, moments: random.Random) -> Done | None:
        """Interrupt a run of ``workdir`` in ``phase``; return None if it did not come to that."""
        run = self.start(workdir, setting, compiled=phase != "compilation")
        if phase in ("steps", "save", "validation"):  # somewhere in the next steps, not in the first that come
            more = moments.randrange(4)
            if not run.until(lambda: run.step() > run.first + more and "step " in run.said()):
                run.end()
                return None
        if not run.until(lambda: run.phase() == phase):
            run.end()
            return None
        time.sleep(moments.uniform(0, self.lasts.get(phase, 0.05)))
        found, step = run.phase(), run.step()
        if run.process.poll() is not None:
            run.end()
            return None
        faults = kind.act(self, run, moments) or []
        status = run.end()
        faults += run.noise() if setting != TWO else []
        done = Done(kind.name, phase, found, setting, step, status, faults)
        unsaved = status == -signal.SIGTERM and found in ("start-up", "resuming", "export")  # it ends as it always does
        if status not in kind.statuses and not unsaved and not (status == 0 and run.step() >= self.steps):
            done.faults.append(f"exit status {status}: {run.said()[-300:]!r}")
        if status == 1 and setting != TWO and not (len(run.errors()) == 1 and re.search(kind.says, run.errors()[0])):
            done.faults.append(f"it said {run.errors()}")
        print(f"{workdir.name}: {done}", flush=True)
        return done


def _kill(bench: Bench, run: Run, moments: random.Random) -> None:
    run.send(signal.SIGKILL)


def _term(bench: Bench, run: Run, moments: random.Random) -> None:
    run.send(signal.SIGTERM)


def _term_group(bench: Bench, run: Run, moments: random.Random) -> None:
    run.send_to_group(signal.SIGTERM)


def _kill_group(bench: Bench, run: Run, moments: random.Random) -> None:
    run.send_to_group(signal.SIGKILL)


def _ctrl_c(bench: Bench, run: Run, moments: random.Random) -> None:
    run.send_to_group(signal.SIGINT)


def _ctrl_c_twice(bench: Bench, run: Run, moments: random.Random) -> None:
    run.send_to_group(signal.SIGINT)
    time.sleep(moments.uniform(0.0, 0.3))
    run.send_to_group(signal.SIGINT)


def _kill_worker(bench: Bench, run: Run, moments: random.Random, number: int = signal.SIGKILL) -> None:
    if run.until(lambda: bool(run.workers())) and (workers := run.workers()):
        try:
            os.kill(moments.choice(workers), number)
        except ProcessLookupError:
            return


def _crash_worker(bench: Bench, run: Run, moments: random.Random) -> None:
    _kill_worker(bench, run, moments, signal.SIGSEGV)


def _full_disk(bench: Bench, run: Run, moments: random.Random) -> None:
    resource.prlimit(run.process.pid, resource.RLIMIT_FSIZE, (FILE_SIZE, FILE_SIZE))


def _vanish(bench: Bench, run: Run, moments: random.Random) -> list[str]:
    elsewhere = run.workdir.with_name(f"{run.workdir.name}-elsewhere")
    run.workdir.rename(elsewhere)
    run.process.wait()
    faults = []
    if run.workdir.exists():  # a save that was under way makes it anew, which must be told
        told = "a new folder of its name is in the way" in run.said()
        whole = [path.name for path in run.workdir.glob("checkpoints/*") if path.name.isdigit()]
        faults = [f"a new folder holds {name}, which is not told" for name in whole if not told]
        shutil.rmtree(run.workdir)
    elsewhere.rename(run.workdir)
    return faults


def _vanish_data(bench: Bench, run: Run, moments: random.Random) -> None:
    pictures = bench.pictures(run.workdir)
    elsewhere = pictures.with_name(f"{pictures.name}-elsewhere")
    pictures.rename(elsewhere)
    run.process.wait()
    elsewhere.rename(pictures)


def _stop_and_continue(bench: Bench, run: Run, moments: random.Random) -> None:
    run.send_to_group(signal.SIGSTOP)
    time.sleep(moments.uniform(0.5, 3.0))
    run.send_to_group(signal.SIGCONT)


def _second_run(bench: Bench, run: Run, moments: random.Random) -> list[str]:
    run.send_to_group(signal.SIGSTOP)  # a start takes longer than these runs
    command = [sys.executable, "main.py", "--mode=train", f"--config={bench.config(run.workdir, 0)}"]
    second = subprocess.run(
        [*command, f"--workdir={run.workdir}"], cwd=REPO, env=bench.environment, capture_output=True, text=True
    )
    run.send_to_group(signal.SIGCONT)
    run.send(signal.SIGTERM)
    lines = [line for line in second.stderr.splitlines() if line.startswith("error: ")]
    refused = second.returncode == 1 and len(lines) == 1 and "another run is training in" in lines[0]
    return [] if refused else [f"the second run ended with {second.returncode}: {second.stderr[-300:]!r}"]


def _kill_one_of_two(bench: Bench, run: Run, moments: random.Random) -> list[str]:
    index = moments.randrange(2)
    run.send(signal.SIGKILL, index)
    killed = time.monotonic()
    try:
        status = run.processes[1 - index].wait(timeout=120)
    except subprocess.TimeoutExpired:
        run.clean_up()
        return ["the other process waited for more than 120 s"]
    return [] if status else [f"the other process ended with 0 after {time.monotonic() - killed:.1f} s"]


def _term_one_of_two(bench: Bench, run: Run, moments: random.Random) -> None:
    run.send(signal.SIGTERM, moments.randrange(2))


KINDS = (
    Kind("kill -9", _kill, ANYWHERE, (-signal.SIGKILL,)),
    Kind("kill -9 of the process group", _kill_group, ANYWHERE, (-signal.SIGKILL,), settings=(WITH_WORKERS,)),
    Kind("SIGTERM", _term, ANYWHERE, (0,)),
    Kind("SIGTERM to the process group", _term_group, ANYWHERE, (0,), settings=(WITH_WORKERS,)),
    Kind("Ctrl-C", _ctrl_c, TRAINING, (0, 130, -signal.SIGINT)),
    Kind("Ctrl-C twice", _ctrl_c_twice, TRAINING, (0, 130, -signal.SIGINT)),
    Kind("kill -9 of a worker", _kill_worker, TRAINING, (1,), r"worker .*killed \(SIGKILL\)", settings=(WITH_WORKERS,)),
    Kind(
        "SIGSEGV of a worker",
        _crash_worker,
        ("steps",),
        (1,),
        r"worker .*crashed \(SIGSEGV\)",
        settings=(WITH_WORKERS,),
    ),
    Kind("disk full", _full_disk, ("steps", "save"), (1,), "cannot be written to|File too large"),
    Kind("the run's folder vanishes", _vanish, ("steps", "validation"), (1,), "is gone|cannot be written to"),
    Kind("the data vanish", _vanish_data, ("steps",), (1,), "more than max_broken|No such file"),
    Kind("SIGSTOP, then SIGCONT", _stop_and_continue, TRAINING, (0,)),
    Kind("a second run in the folder, then SIGTERM", _second_run, ("steps",), (0,)),
    Kind("kill -9 of one of two processes", _kill_one_of_two, ("steps", "save"), _KILLED_OR_LEFT, settings=(TWO,)),
    Kind("SIGTERM to one of two processes", _term_one_of_two, ("steps", "validation"), (0,), settings=(TWO,)),
)


def make_plan(count: int, moments: random.Random) -> list[tuple[Kind, str, Setting]]:
    """Return ``count`` interruptions: rounds of all kinds, shuffled, each kind in the next of its phases, shuffled."""
    phases = {kind.name: moments.sample(kind.phases, len(kind.phases)) for kind in KINDS}
    plan: list[tuple[Kind, str, Setting]] = []
    for number in range(count):
        turn, place = divmod(number, len(KINDS))
        if place == 0:
            kinds = moments.sample(KINDS, len(KINDS))
        kind = kinds[place]
        plan.append((kind, phases[kind.name][turn % len(kind.phases)], moments.choice(kind.settings)))
    return plan


def remaining(plan: list[tuple[Kind, str, Setting]], done: list[Done]) -> list[tuple[Kind, str, Setting]]:
    """Return what is left of a plan."""
    counts, left = Counter((one.kind, one.asked, one.setting) for one in done), []
    for kind, phase, setting in plan:
        key = (kind.name, phase, setting)
        counts[key] -= 1
        if counts[key] < 0:
            left.append((kind, phase, setting))
    return left


def in_folders(items: list[tuple[Kind, str, Setting]]) -> list[list[tuple[Kind, str, Setting]]]:
    """Return interruptions by folder: of one setting, in an order in which they can come, as a folder begins once."""
    folders = []
    for setting in dict.fromkeys(item[2] for item in items):
        mine = [item for item in items if item[2] == setting]
        folders += [mine[start : start + A_FOLDER] for start in range(0, len(mine), A_FOLDER)]
    order = {"start-up": 0, "compilation": 1, "export": 3}
    return [sorted(folder, key=lambda item: order.get(item[1], 2)) for folder in folders]


def make_pictures(folder: Path, count: int = 40) -> Path:
    folder.mkdir()
    numbers = np.random.default_rng(0)
    for index in range(count):
        Image.fromarray(numbers.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(folder / f"{index:03d}.png")
        (folder / f"{index:03d}.txt").write_text(f"picture number {index}\nthe same, said in other words")
    return folder


def differences(one: Path, other: Path) -> list[str]:
    """Return what differs between two runs at their end; an empty list if nothing does.

    Compared are the last checkpoint, bit for bit with its position in the data, the records of all steps but for times,
    the presence of the best checkpoint, and the names of the files of the model folder.
    """
    found = []
    steps = [sorted(int(p.name) for p in (w / "checkpoints").iterdir() if p.name.isdigit()) for w in (one, other)]
    if steps[0][-1] != steps[1][-1]:
        return [f"the last checkpoints are {steps[0][-1]} and {steps[1][-1]}"]
    ends = [last_checkpoint(workdir) for workdir in (one, other)]
    names = ends[0][0].keys() | ends[1][0].keys()
    found += [f"checkpoint: {name}" for name in names if not np.array_equal(ends[0][0][name], ends[1][0][name])]
    if ends[0][1] != ends[1][1]:
        found.append("the position in the data")
    records = [_measured(workdir) for workdir in (one, other)]
    found += [
        f"records of step {step}" for step in sorted(records[0].keys() | records[1].keys())
        if records[0].get(step) != records[1].get(step)
    ]  # fmt: skip
    files = [sorted(str(p.relative_to(w)) for p in (w / "model").rglob("*.json")) for w in (one, other)]
    if files[0] != files[1]:
        found.append(f"files of the model: {files}")
    scores = {step: values[_SCORE] for step, values in records[0].items() if _SCORE in values}
    if (best := min(scores, key=lambda step: scores[step])) not in steps[0] or best not in steps[1]:
        found.append(f"the best checkpoint, {best}, is not among {steps}")
    return found


def _measured(workdir: Path) -> dict[int, dict]:
    """Return all that was measured, by step, without what depends on the clock."""
    found: dict[int, dict] = {}
    for record in journal(workdir):
        values = {name: value for name, value in record.items() if name not in ("samples_per_second", "hours_left")}
        found.setdefault(record["step"], {}).update(values)
    return found


def last_checkpoint(workdir: Path) -> tuple[dict[str, np.ndarray], dict]:
    from vqdiffusion_jax.checkpoint import TrainingCheckpoints
    from vqdiffusion_jax.paths import leaves_by_path
    from vqdiffusion_jax.sharding import make_mesh
    from vqdiffusion_jax.training.config_dict import train_config_dict
    from vqdiffusion_jax.training.denoiser.config import train_config
    from vqdiffusion_jax.training.denoiser.state import abstract_state

    config = train_config(train_config_dict(model="tiny_text", batch_size=4, steps=1))
    checkpoints = TrainingCheckpoints(workdir / "checkpoints", keep_last=1000)
    found = checkpoints.restore(abstract_state(config, make_mesh(devices=jax.devices()[:1])))
    assert found is not None and not found[3], found
    _, state, position, _ = found
    position.pop("trained_with")  # the number of workers is another
    arrays = {}
    for name, leaf in leaves_by_path(state).items():
        arrays[name] = np.asarray(
            jax.random.key_data(leaf) if jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
        )
    return arrays, position


def render(bench: Bench, command: str) -> str:
    done, compared = bench.done, bench.compared
    same, faults = sum(not one.differences for one in compared), sum(bool(one.faults) for one in done)
    lines = [
        "# Interrupted training",
        "",
        f"Made by `{command}`; a whole run is `python -m benchmarks.interruptions --interruptions=100 --steps=60 "
        "--out=docs/results/interruptions.md`.",
        "",
        f"{os.cpu_count()} cores ({platform.machine()}, Python {platform.python_version()}, jax {jax.__version__}).  "
        f"{bench.steps} steps of a tiny text model, a checkpoint every {EVERY}, validation every {EVAL_EVERY}, the "
        "best checkpoint kept; one process with or without two workers, or two processes.",
        "",
        f"**{len(done)} interruptions in {len(compared)} run folders: {same} of {len(compared)} ended with the same "
        f"bits, {faults} interruptions went otherwise than they should.**  Compared with a run that nobody interrupted "
        "are the last checkpoint (parameters, average, optimizer, learning rate, loss history, position in the data), "
        "what was measured at every step and in every validation, as logged, and the files of the exported model.",
        "An interruption goes as it should if the exit status is the one expected, what is said is at most one "
        "line, without a traceback or a warning, and no process is left.",
        "",
        "| kind | interruptions | " + " | ".join(PHASES) + " | exit statuses | faults |",
        "|---|---:|" + "---:|" * len(PHASES) + "---|---|",
    ]
    for kind in KINDS:
        mine = [one for one in done if one.kind == kind.name]
        phases = Counter(one.phase for one in mine)
        statuses = ", ".join(f"{status} ({n})" for status, n in sorted(Counter(one.status for one in mine).items()))
        bad = "<br>".join(fault.replace("|", "\\|") for one in mine for fault in one.faults) or "none"
        cells = " | ".join(str(phases[phase] or "") for phase in PHASES)
        lines.append(f"| {kind.name} | {len(mine)} | {cells} | {statuses} | {bad if mine else ''} |")
    lines += ["", "| folder | processes | interruptions: step, phase | differences |", "|---:|---:|---|---|"]
    for number, one in enumerate(compared, 1):
        told = "; ".join(f"{each.kind}: {each.step}, {each.phase}" for each in one.done)
        lines.append(f"| {number} | {one.setting} | {told} | {'; '.join(one.differences) or 'none'} |")
    return "\n".join(lines)


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--interruptions", type=int, default=100)
    arguments.add_argument("--steps", type=int, default=60, help="of each run")
    arguments.add_argument("--seed", type=int, default=0, help="of the plan and the random moments")
    arguments.add_argument("--only", default="", help="a regular expression of the kinds to try")
    arguments.add_argument("--minutes", type=float, default=600.0, help="begin no interruption after so many")
    arguments.add_argument("--lanes", type=int, default=1, help="folders at a time")
    arguments.add_argument("--folder", type=Path, help="keep all here; a command with the same folder goes on")
    arguments.add_argument("--out", type=Path, help="also write the tables to this Markdown file")
    options = arguments.parse_args()
    logging.getLogger("absl").setLevel(logging.ERROR)  # orbax about what the comparison does not ask for
    until = time.monotonic() + 60 * options.minutes
    with contextlib.ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        bench = Bench(folder.resolve(), options.seed, options.steps)
        plan = make_plan(10_000, random.Random(options.seed))
        plan = [one for one in plan if re.search(options.only, one[0].name)][: options.interruptions]
        bench.interrupt(plan, until, options.lanes)
        report = render(bench, f"python -m benchmarks.interruptions {' '.join(sys.argv[1:])}".strip())
    print(report)
    if options.out:
        options.out.write_text(report + "\n", encoding="utf-8")
    sys.exit(any(one.faults for one in bench.done) or any(one.differences for one in bench.compared))


if __name__ == "__main__":
    main()
