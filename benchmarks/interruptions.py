"""Training runs that are killed, stopped or out of disk end bit for bit like runs that nobody interrupted.

    python -m benchmarks.interruptions --out=docs/results/interruptions.md

Every run is ``python main.py --mode=train`` on pictures made here: a tiny text model whose codec and text tower run
inside the step.  Compiled programs are kept between the runs, so that a start costs seconds.  Filling a disk needs a
small file system of its own, which only root may mount; without it that part is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from PIL import Image

REPO = Path(__file__).resolve().parents[1]
CONFIG = """
from vqdiffusion_jax.training.config_dict import train_config_dict

def get_config():
    return train_config_dict(
        model="tiny_text", batch_size=8,
        data=dict(source="folder", root={root!r}, drop_rate=0.2, max_broken=3, read_threads=1),
        steps={steps}, learning_rate=dict(start=1e-3, peak=1e-2, warmup_steps=50), ema=dict(decay=0.9, interval=5),
        compute=dict(dtype="float32", remat=False),
        checkpoint=dict(every={every}, keep_last=2), watch=dict(log_every=5),
        untrained_towers=True, workers=0, seed=3,
    )
"""
STEPS, EVERY, KILLS, SAVES_KILLED = 300, 10, 10, 3
PATIENCE = 900.0  # seconds until a run counts as hung


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--seed", type=int, default=0, help="of the random moments")
    arguments.add_argument("--out", type=Path, help="also write the tables to this Markdown file")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), random.Random(options.seed))
        report = render(bench.interrupted(), bench.ends)
    print(report)
    if options.out:
        options.out.write_text(report + "\n", encoding="utf-8")


class Run:
    """One start of a training run, of one or more processes over localhost."""

    def __init__(
        self,
        bench: Bench,
        workdir: Path,
        processes: int = 1,
        flags: tuple[str, ...] = (),
        only: dict[int, str] | None = None,
    ):
        self.workdir, self.began = workdir, time.perf_counter()
        command = [
            sys.executable,
            str(REPO / "main.py"),
            "--mode=train",
            f"--config={bench.config}",
            f"--workdir={workdir}",
            *flags,
        ]
        joined: list[list[str]] = [[]]
        if processes > 1:
            with socket.socket() as free:
                free.bind(("localhost", 0))
                address = f"--coordinator=localhost:{free.getsockname()[1]}"
            joined = [[address, f"--num_processes={processes}", f"--process_id={index}"] for index in range(processes)]
        self.logs, self.processes = [], []
        for index, more in enumerate(joined):
            more += [only[index]] if only and index in only else []
            self.logs.append(bench.folder / f"log-{time.time_ns()}-{index}")
            with open(self.logs[-1], "w") as log:
                self.processes.append(
                    subprocess.Popen(command + more, cwd=REPO, env=bench.environment, stdout=log, stderr=log)
                )

    def seconds(self) -> float:
        return time.perf_counter() - self.began

    def until(self, reached: Callable[[], bool]) -> bool:
        """Wait until the condition holds; return False if the run ended before."""
        while not reached():
            if self.processes[0].poll() is not None:
                return False
            if self.seconds() > PATIENCE:
                raise TimeoutError(self.said())
            time.sleep(0.001)
        return True

    def send(self, number: int, index: int = 0) -> None:
        self.processes[index].send_signal(number)

    def end(self) -> list[int]:
        """Wait for all processes and return their exit statuses."""
        try:
            return [process.wait(timeout=PATIENCE) for process in self.processes]
        finally:
            for process in self.processes:
                process.kill()

    def said(self) -> str:
        return "".join(log.read_text() for log in self.logs)

    def errors(self) -> list[str]:
        return [line for line in self.said().splitlines() if line.startswith("error: ")]

    def unfinished(self) -> list[str]:
        """Return the checkpoints on disk that are not whole yet."""
        folder = self.workdir / "checkpoints"
        return (
            [name for name in os.listdir(folder) if not name.isdigit() and not name.startswith("unreadable-")]
            if folder.is_dir()
            else []
        )

    def being_saved(self) -> bool:
        return bool(self.unfinished())

    def step(self) -> int:
        """Return the last step in the journal."""
        found = (
            re.findall(r'"step": (\d+)', journal.read_text())
            if (journal := self.workdir / "metrics.jsonl").exists()
            else []
        )
        return int(found[-1]) if found else 0


class Bench:
    """Data, configuration and compiled programs of all runs; ``interrupted`` and ``ends`` make rows of two tables."""

    def __init__(self, folder: Path, moments: random.Random):
        self.folder, self.moments = folder, moments
        self.config = folder / "run.py"
        self.config.write_text(CONFIG.format(root=str(make_pictures(folder / "pictures")), steps=STEPS, every=EVERY))
        self.environment = os.environ | {
            "JAX_PLATFORMS": "cpu",
            "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        self.start = 0.0  # seconds until training begins
        # What went wrong, exit statuses, seconds until the other process ended, what was said, afterwards.
        self.ends: list[tuple] = []

    def interrupted(self) -> list[tuple]:
        """Return (what, interruptions, final step, identical) of one and of two processes."""
        rows = []
        for processes in (1, 2):
            whole = self.folder / f"whole-{processes}"
            run = Run(self, whole, processes)
            run.until(lambda: run.step() > 0)  # noqa: B023
            self.start = 0.3 * run.seconds()  # later starts find the programs compiled
            assert run.end() == [0] * processes, run.said()
            ways = {"kill -9 at random moments": self.kill, "kill -9 while a checkpoint is written": self.kill_saving}
            for index in range(processes):
                ways["SIGTERM" + (f" to process {index}" if processes > 1 else "")] = lambda n, index=index: (
                    self.sigterm(n, [index])
                )
            if processes > 1:
                ways |= {"SIGTERM to both": lambda n: self.sigterm(n, [0, 1]), "kill -9 of one of them": self.kill_one}
                del ways["kill -9 at random moments"], ways["kill -9 while a checkpoint is written"]
            for number, (name, way) in enumerate(ways.items()):
                self.workdir = self.folder / f"{processes}-{number}"
                moments = way(processes)
                again = Run(self, self.workdir, processes)
                assert again.end() == [0] * processes, again.said()
                rows.append((processes, name, moments, same_end(whole, self.workdir)))
                print(rows[-1], flush=True)
            if processes == 1:
                self.ends += self.full_disk()
                print(self.ends, flush=True)
        self.ends.append(self.one_of_two_fails())
        return rows

    def kill(self, processes: int) -> list[str]:
        """Kill ten times: three at any moment of starting, the others at any moment of training."""
        moments = []
        for number in range(KILLS):
            starting = number % 4 == 1
            if starting:
                run, when = Run(self, self.workdir, processes), self.moments.uniform(0, self.start)
                assert run.until(lambda: run.seconds() > when), run.said()  # noqa: B023
            else:
                run = self.trained_on(processes, most=STEPS // KILLS)
                time.sleep(self.moments.uniform(0, 0.2))  # anywhere in a step
            saving, step = run.being_saved(), run.step()
            run.send(signal.SIGKILL)
            assert run.end() == [-signal.SIGKILL], run.said()
            moments.append(
                f"{step}{f' ({when:.1f} s after the start)' if starting else ', in a save' if saving else ''}"
            )
        return moments

    def kill_one(self, processes: int) -> list[str]:
        """Kill one of two processes; the other must not stay behind."""
        moments = []
        for index in (1, 0):
            run = self.trained_on(processes, most=STEPS // 4)
            run.send(signal.SIGKILL, index)
            killed = time.perf_counter()
            assert 0 not in run.end(), run.said()
            moments.append(f"{run.step()}, process {1 - index} ended {time.perf_counter() - killed:.1f} s later")
        return moments

    def trained_on(self, processes: int, most: int) -> Run:
        """Return a run that has just logged a step, at most ``most`` steps after it began to train."""
        run = Run(self, self.workdir, processes)
        assert run.until(lambda: "resuming from" in run.said() or run.step() > 0), run.said()
        first, more = run.step(), self.moments.randrange(most)
        assert run.until(lambda: run.step() > first + more), run.said()
        return run

    def kill_saving(self, processes: int) -> list[str]:
        """Kill as soon as a checkpoint's temporary folder is there, or a little later."""
        moments = []
        for number in range(SAVES_KILLED):
            run = self.trained_on(processes, most=STEPS // 10)
            assert run.until(lambda: not run.being_saved()) and run.until(run.being_saved), run.said()  # noqa: B023
            time.sleep(0.01 * number)
            run.send(signal.SIGKILL)
            run.end()
            moments.append(f"{run.step()}, {len(run.unfinished())} unfinished checkpoint on disk")
        return moments

    def sigterm(self, processes: int, to: list[int]) -> list[str]:
        """Send SIGTERM twice, in the middle of training."""
        moments = []
        for _ in range(2):
            run = self.trained_on(processes, most=STEPS // 4)
            asked = time.perf_counter()
            for index in to:
                run.send(signal.SIGTERM, index)
            assert run.end() == [0] * processes, run.said()
            saved = re.search(r"asked to stop: saving checkpoint (\d+)", run.said())
            assert saved, run.said()
            moments.append(f"{saved[1]}, ended after {time.perf_counter() - asked:.1f} s")
        return moments

    def full_disk(self) -> list[tuple]:
        """Train on a file system with room for a few checkpoints, of which all are kept."""
        disk = self.folder / "disk"
        disk.mkdir()
        size = sum(path.stat().st_size for path in (self.folder / "whole-1" / "checkpoints" / str(STEPS)).rglob("*"))
        kept = ("--config.checkpoint.keep_last=1000",)
        rows = []
        if subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={6 * size}", "tmpfs", disk], capture_output=True
        ).returncode:
            return [("full disk", "not tried: no file system can be mounted here", "", "", "")]
        try:
            run = Run(self, disk / "run", flags=kept)
            statuses = run.end()
            saved = sorted(int(name) for name in os.listdir(disk / "run" / "checkpoints") if name.isdigit())
            rows.append(("the disk fills while training", statuses, "", run.errors(), f"checkpoints {saved} are whole"))
            run = Run(self, disk / "run", flags=kept)
            rows.append(("started again on the full disk", run.end(), "", run.errors(), ""))
            subprocess.run(["mount", "-o", f"remount,size={1000 * size}", disk], check=True)
            run = Run(self, disk / "run", flags=kept)
            statuses = run.end()
            resumed = re.search(r"resuming from checkpoint \d+", run.said())
            same = same_end(self.folder / "whole-1", disk / "run")
            rows.append(
                (
                    "and once there is room",
                    statuses,
                    "",
                    run.errors(),
                    f"{resumed and resumed[0]}; bit-identical end: {same}",
                )
            )
        finally:
            subprocess.run(["umount", disk], check=True)
        return rows

    def one_of_two_fails(self) -> tuple:
        """Train with two processes, the second of which has a copy of the pictures with most of them cut short."""
        bad = self.folder / "damaged"
        shutil.copytree(self.folder / "pictures", bad)
        for path in sorted(bad.glob("*.png"))[10:]:
            path.write_bytes(path.read_bytes()[:40])
        run = Run(self, self.folder / "fails", 2, only={1: f"--config.data.root={bad}"})
        run.processes[1].wait(timeout=PATIENCE)
        ended = time.perf_counter()
        statuses = run.end()
        return (
            "one process of two has too many broken pictures",
            statuses,
            time.perf_counter() - ended,
            run.errors(),
            "",
        )


def make_pictures(folder: Path, count: int = 64) -> Path:
    folder.mkdir()
    numbers = np.random.default_rng(0)
    for index in range(count):
        Image.fromarray(numbers.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(folder / f"{index:03d}.png")
        (folder / f"{index:03d}.txt").write_text(f"picture number {index}\nthe same, said in other words")
    return folder


def same_end(one: Path, other: Path) -> bool:
    """Return whether the last checkpoints (arrays and position in the data) and all losses on the way are the same."""
    ends = [last_checkpoint(workdir) for workdir in (one, other)]
    equal = all(np.array_equal(ends[0][0][name], ends[1][0][name]) for name in ends[0][0].keys() | ends[1][0].keys())
    logged = [
        [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()] for workdir in (one, other)
    ]
    losses = [{record["step"]: record["loss"] for record in records if record["step"] % 5 == 0} for records in logged]
    return equal and ends[0][1] == ends[1][1] and losses[0] == losses[1]


def last_checkpoint(workdir: Path) -> tuple[dict[str, np.ndarray], dict]:
    from vqdiffusion_jax.checkpoint import TrainingCheckpoints
    from vqdiffusion_jax.paths import leaves_by_path
    from vqdiffusion_jax.sharding import make_mesh
    from vqdiffusion_jax.training.config_dict import train_config_dict
    from vqdiffusion_jax.training.denoiser.config import train_config
    from vqdiffusion_jax.training.denoiser.state import abstract_state

    config = train_config(train_config_dict(model="tiny_text", batch_size=8, steps=STEPS))
    checkpoints = TrainingCheckpoints(workdir / "checkpoints", keep_last=1000)
    step, state, position, complaints = checkpoints.restore(
        abstract_state(config, make_mesh(devices=jax.devices()[:1]))
    )
    assert step == STEPS and not complaints, (step, complaints)
    arrays = {}
    for name, leaf in leaves_by_path(state).items():
        arrays[name] = np.asarray(
            jax.random.key_data(leaf) if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
        )
    return arrays, position


def render(rows: list[tuple], ends: list[tuple]) -> str:
    lines = [
        "# Interrupted training",
        "",
        "Made by `python -m benchmarks.interruptions --out=docs/results/interruptions.md`.",
        "",
        f"{os.cpu_count()} cores ({platform.machine()}, Python {platform.python_version()}, jax {jax.__version__}).  "
        f"{STEPS} steps of a tiny text model, a checkpoint every {EVERY}; each interrupted run was continued to its "
        "end, and the last checkpoint (parameters, average, optimizer, learning rate, loss history, position in the "
        "data) and every logged loss compared with those of a run that nobody interrupted.",
        "",
        "| processes | how it was interrupted | last logged or saved step each time | same bits in the end |",
        "|---:|---|---|---|",
    ]
    for processes, name, moments, same in rows:
        lines.append(f"| {processes} | {name} | {'; '.join(moments)} | {'yes' if same else 'NO'} |")
    lines += ["", "| what goes wrong | exit status | what is said | afterwards |", "|---|---|---|---|"]
    for name, statuses, seconds, errors, after in ends:
        waited = f"; the other process {seconds:.1f} s later" if seconds != "" else ""
        said = "<br>".join(re.sub(r"/tmp/\w+/", "", error) for error in errors)
        lines.append(f"| {name} | {statuses}{waited} | {said} | {after} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
