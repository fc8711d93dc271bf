"""Worker processes that die, are told to stop with the whole group, or lose their parent."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.data import layouts
from vqdiffusion_jax import preset
from vqdiffusion_jax.data import make_loader
from vqdiffusion_jax.data.read_ahead import read_ahead
from vqdiffusion_jax.errors import DataError

REPO = Path(__file__).resolve().parents[2]
TEXT = preset("tiny_text")


class Squares:
    """Elements that are arrays, for which grain uses shared memory; number ``fatal`` ends its process."""

    def __init__(self, fatal: int = -1, how: int = signal.SIGSEGV):
        self.fatal, self.how = fatal, how

    def __len__(self):
        return 1000

    def __getitem__(self, index):
        if index == self.fatal:
            os.kill(os.getpid(), self.how)
        return {"square": np.full(1000, index**2)}


def workers():
    return [process for process in multiprocessing.active_children() if process.name.startswith("grain")]


@pytest.mark.parametrize(
    ("how", "match"),
    [
        (
            signal.SIGSEGV,
            r"worker 1 of the 2 that prepare data crashed \(SIGSEGV\).* fewer workers \(--config.workers\)",
        ),
        (signal.SIGKILL, r"worker 1 of the 2 that prepare data was killed \(SIGKILL\).* memory is short"),
    ],
)
def test_a_dead_worker_is_one_line(how, match):
    stream, given = read_ahead(Squares(fatal=31, how=how), threads=1, ahead=1, workers=2), []
    with pytest.raises(DataError, match=match) as error:
        for element in stream:
            given.append(int(element["square"][0]))
    assert given == [index**2 for index in range(len(given))] and 1 <= len(given) <= 31
    assert "\n" not in str(error.value)
    stream.close()
    assert not workers()


class Many(Squares):
    """Elements that take more bytes than the pipe holds by which a process that starts is told."""

    def __init__(self):
        super().__init__()
        self.captions = [f"caption {number}" for number in range(100_000)]


def test_batches_go_on_where_a_worker_died(tmp_path):
    data = {"source": "folder", "root": str(layouts.folder(tmp_path / "pictures", 10))}
    alone, many = (iter(make_loader(data, TEXT, split="train", batch_size=4, workers=n)) for n in (0, 1))
    try:
        next(many)
        (worker,) = workers()
        for number in (signal.SIGTERM, signal.SIGINT):  # ignored: the parent ends its workers itself
            os.kill(worker.pid, number)
        next(many)
        worker.kill()
        taken = 2
        with pytest.raises(DataError, match=r"the worker that prepares data was killed \(SIGKILL\)"):
            for _ in range(10):  # those that were ready are given first
                next(many)
                taken += 1
        assert many.get_state()["batches"] == taken
        expected = [next(alone) for _ in range(taken + 1)][-1]
        batch = next(many)
        assert all(np.array_equal(batch[name], expected[name]) for name in expected)
    finally:
        many.close()


def test_a_batch_that_is_refused_does_not_move_the_position(tmp_path):
    root = layouts.folder(tmp_path / "pictures", 10)
    broken = sorted(root.glob("*.png"))[1:4]
    whole = {path: path.read_bytes() for path in broken}
    for path in broken:
        path.write_bytes(b"")
    data = {"source": "folder", "root": str(root), "max_broken": 2}
    iterator = iter(make_loader(data, TEXT, split="train", batch_size=4))
    before = []
    with pytest.raises(DataError, match="more than max_broken=2"):
        while True:
            before.append(iterator.get_state())
            next(iterator)
    assert iterator.get_state() == before[-1]
    for path, content in whole.items():
        path.write_bytes(content)
    assert next(iterator)["images"].shape[0] == 4
    assert iterator.get_state()["batches"] == before[-1]["batches"] + 1


READING = """
import sys, time
from tests.data.test_workers import Squares, workers
from vqdiffusion_jax.data.read_ahead import read_ahead

if __name__ == "__main__":
    stream = read_ahead(Squares(), threads=1, ahead=4, workers=2)
    next(stream)
    print(*(process.pid for process in workers()), flush=True)
    if sys.argv[1] == "stays":
        time.sleep(600)
"""


def reading(tmp_path, how):
    """Start a process of its own group that reads with two workers; return it and their numbers."""
    script = tmp_path / "reading.py"
    script.write_text(READING)
    process = subprocess.Popen(
        [sys.executable, str(script), how],
        cwd=REPO,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"PYTHONPATH": str(REPO), "JAX_PLATFORMS": "cpu"},
    )
    return process, [int(number) for number in process.stdout.readline().split()]


def alive(number):
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes as Linux shows them")
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, None])
def test_no_worker_outlives_its_parent(tmp_path, end):
    process, numbers = reading(tmp_path, "ends" if end is None else "stays")
    assert len(numbers) == 2
    if end is signal.SIGTERM:
        os.killpg(process.pid, end)  # as timeout, Slurm and systemd do
    elif end is not None:
        process.send_signal(end)
    until = time.monotonic() + 60
    while any(map(alive, numbers)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(alive, numbers))
    # The pipe ends with the last process, the one that frees shared memory.
    assert process.communicate(timeout=60)[1] == ""
    assert process.returncode == (0 if end is None else -end)


KILLED_AT_THE_START = """
import os, signal
from multiprocessing import util
from tests.data.test_workers import Squares
from vqdiffusion_jax.data.read_ahead import read_ahead

start = util.spawnv_passfds

def started(path, arguments, *others):
    start(path, arguments, *others)
    if any("spawn_main" in str(argument) for argument in arguments):  # not the process that frees shared memory
        os.kill(os.getpid(), signal.SIGKILL)

util.spawnv_passfds = started
next(read_ahead(Squares(), threads=1, ahead=1, workers=2))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")
def test_workers_of_a_command_that_is_killed_as_they_start_say_nothing():
    environment = os.environ | {"PYTHONPATH": str(REPO), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", KILLED_AT_THE_START]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == -signal.SIGKILL and done.stderr == ""


WORKER_KILLED_AT_THE_START = """
import os, signal
from multiprocessing import util
from tests.data.test_workers import Many
from vqdiffusion_jax.data.read_ahead import read_ahead
from vqdiffusion_jax.errors import DataError

start = util.spawnv_passfds

def started(path, arguments, *others):
    number = start(path, arguments, *others)
    if any("spawn_main" in str(argument) for argument in arguments):
        os.kill(number, signal.SIGKILL)
    return number

util.spawnv_passfds = started
stream = read_ahead(Many(), threads=1, ahead=1, workers=1)
try:
    next(stream)
except DataError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")
def test_a_worker_that_is_killed_as_it_starts_is_one_line():
    environment = os.environ | {"PYTHONPATH": str(REPO), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", WORKER_KILLED_AT_THE_START]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert done.stdout.startswith("the worker that prepares data was killed (SIGKILL)") and done.stderr == ""
    assert done.stdout.count("\n") == 1
