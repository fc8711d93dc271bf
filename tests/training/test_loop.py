"""Whole runs on toy data: interrupted, killed, damaged, stopped."""

import copy
import dataclasses
import errno
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.training.toy import ToyIterator, ToyLoader, make_config, make_model
from vqdiffusion_jax.checkpoint import TrainingCheckpoints, _orbax, _without_keys
from vqdiffusion_jax.errors import CheckpointError, DataError, NonFiniteLoss
from vqdiffusion_jax.profiling import Profiler
from vqdiffusion_jax.sharding import make_mesh
from vqdiffusion_jax.training.config import CheckpointConfig, WatchConfig
from vqdiffusion_jax.training.denoiser.init_from import Pretrained
from vqdiffusion_jax.training.denoiser.state import abstract_state
from vqdiffusion_jax.training.denoiser.task import DenoiserTask
from vqdiffusion_jax.training.loop import check_folder, held_out, train
from vqdiffusion_jax.training.termination import termination

REPO = Path(__file__).resolve().parents[2]
STEPS = 6
CHANGES = {"steps": STEPS, "checkpoint": CheckpointConfig(every=2, keep_last=2), "watch": WatchConfig(log_every=1)}
pytestmark = pytest.mark.usefixtures("compilation_cache")


@functools.cache
def compiled_task():
    """Return a task whose step and first state are traced and compiled once for all runs of a process."""
    task = DenoiserTask(make_config("none", **CHANGES), Pretrained(), make_mesh(devices=jax.devices()[:1]))
    first, abstract = task.first_state(), task.abstract_state()
    placed = jax.tree.map(lambda leaf: leaf.sharding, first)
    copied = jax.jit(lambda state: jax.tree.map(jnp.copy, state), out_shardings=placed)
    task.first_state, task.abstract_state = lambda: copied(first), lambda: abstract  # a step gives its state away
    return task


def run(workdir, loader=None, **changes):
    config, task, lines = make_config("none", **(CHANGES | changes)), copy.copy(compiled_task()), []
    task.config = config  # neither steps, watch nor checkpoint is part of the program
    outcome = train(task, workdir, loader or ToyLoader(config), log=lines.append)
    return outcome, lines


def leaves(state):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(_without_keys(state))]


def assert_identical(one, other):
    for a, b in zip(leaves(one), leaves(other), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module")
def whole(compilation_cache, tmp_path_factory):
    """An uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole")
    outcome, _ = run(folder)
    return folder, outcome.state


@pytest.fixture
def ctrl_c_raises():
    """Ctrl-C raises, as in a terminal; a shell's background jobs (``nohup make test &``) ignore it from the start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Interrupted(BaseException):
    """An end that nothing inside the loop catches, as of a process that is killed."""


class Failing(ToyLoader):
    """Calls ``trouble`` instead of giving batch ``at``."""

    def __init__(self, config, at, trouble):
        super().__init__(config)
        self.at, self.trouble = at, trouble

    def __iter__(self):
        loader = self

        class Iterator(ToyIterator):
            def __next__(self):
                if self.taken == loader.at:
                    loader.trouble()
                return super().__next__()

        return Iterator(self.config, self.process)


@pytest.mark.parametrize("trouble", [DataError("a shard is damaged"), OSError("the disk is gone"), RuntimeError("x")])
def test_data_that_fails_leaves_a_checkpoint_of_the_state_in_hand(whole, tmp_path, trouble):
    def fail():
        raise trouble

    with pytest.raises(type(trouble)):
        run(tmp_path, Failing(make_config(**CHANGES), 3, fail))
    outcome, lines = run(tmp_path)
    assert any("resuming from checkpoint 3" in line for line in lines)
    assert_identical(outcome.state, whole[1])


def test_validation_data_that_fails_leaves_a_checkpoint(tmp_path):
    def fail():
        raise DataError("a shard is damaged")

    config = make_config(**CHANGES)
    changes = {"watch": WatchConfig(log_every=1, eval_every=3, eval_batches=1)}
    task = copy.copy(compiled_task())
    task.config = dataclasses.replace(config, **changes)
    with pytest.raises(DataError):
        train(task, tmp_path, ToyLoader(config), validation=Failing(config, 0, fail), log=lambda line: None)
    assert (tmp_path / "checkpoints" / "3").is_dir()


def test_interrupted_ends_as_uninterrupted(whole, tmp_path):
    def stop():
        raise Interrupted

    with pytest.raises(Interrupted):
        run(tmp_path, Failing(make_config(**CHANGES), 5, stop))
    outcome, lines = run(tmp_path)
    assert any("resuming from checkpoint 4" in line for line in lines)
    assert_identical(outcome.state, whole[1])
    records = [
        [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        for folder in (tmp_path, whole[0])
    ]
    assert [r["loss"] for r in records[0]] == [r["loss"] for r in records[1]]
    assert [r["step"] for r in records[0]] == list(range(1, STEPS + 1))
    assert len(records[0][0]["loss_by_timestep"]) == 10
    assert not any(path.name.startswith(".") for path in tmp_path.iterdir())


@pytest.mark.usefixtures("ctrl_c_raises")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_sigterm_or_ctrl_c_saves_and_ends(whole, tmp_path, number):
    before = signal.getsignal(number)
    outcome, lines = run(tmp_path, Failing(make_config(**CHANGES), 2, lambda: os.kill(os.getpid(), number)))
    assert (outcome.step, outcome.stopped) == (3, True)
    assert lines[-1] == "asked to stop: saving checkpoint 3"
    assert signal.getsignal(number) == before
    outcome, lines = run(tmp_path)
    assert any("resuming from checkpoint 3" in line for line in lines)
    assert_identical(outcome.state, whole[1])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_does_not_cut_off_the_last_checkpoint(whole, tmp_path, monkeypatch, number):
    caught, sent, saved = [], [], []
    save, wait = TrainingCheckpoints.save, TrainingCheckpoints.wait

    def saving(self, step, *arguments, **options):
        save(self, step, *arguments, **options)
        saved.append(step)

    def waiting(self):
        if saved[-1:] == [STEPS] and not sent:
            sent.append(number)
            signal.raise_signal(number)
        wait(self)

    monkeypatch.setattr(TrainingCheckpoints, "save", saving)
    monkeypatch.setattr(TrainingCheckpoints, "wait", waiting)
    before = signal.signal(number, lambda number, frame: caught.append(number))
    try:
        outcome, _ = run(tmp_path)
    finally:
        signal.signal(number, before)
    assert sent and not caught and not outcome.stopped
    assert_identical(outcome.state, whole[1])


@pytest.mark.usefixtures("ctrl_c_raises")
def test_a_second_ctrl_c_ends_at_once(tmp_path, capfd):
    said = []

    def twice():
        signal.raise_signal(signal.SIGINT)
        said.append(capfd.readouterr().err)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Failing(make_config(**CHANGES), 3, twice))
    assert said == ["stopping soon, with a checkpoint; Ctrl-C again ends at once\n"]
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"2"}
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler


def test_a_validation_that_failed_is_made_up_for(tmp_path):
    watch, checkpoint = WatchConfig(log_every=1, eval_every=2, eval_batches=1), CheckpointConfig(every=5, keep_best=1)
    config = make_config("none", **(CHANGES | {"watch": watch, "checkpoint": checkpoint}))

    def trouble():
        raise DataError("the worker that prepares data crashed (SIGSEGV)")

    def trained(folder, validation):
        task, lines = copy.copy(compiled_task()), []
        task.config = config
        outcome = train(task, tmp_path / folder, ToyLoader(config), validation=validation, log=lines.append)
        return outcome.state, lines

    def measured(folder):
        lines = (tmp_path / folder / "metrics.jsonl").read_text().splitlines()
        return [
            {
                name: value
                for name, value in json.loads(line).items()
                if name not in ("samples_per_second", "hours_left")
            }
            for line in lines
        ]

    state, _ = trained("whole", ToyLoader(config))
    with pytest.raises(DataError, match="SIGSEGV"):
        trained("failed", Failing(config, 0, trouble))
    assert TrainingCheckpoints(tmp_path / "failed" / "checkpoints").steps() == [2]
    resumed, lines = trained("failed", ToyLoader(config))
    assert any("resuming from checkpoint 2" in line for line in lines)
    assert_identical(resumed, state)
    assert measured("failed") == measured("whole")
    kept = [TrainingCheckpoints(tmp_path / folder / "checkpoints").steps() for folder in ("failed", "whole")]
    assert kept[0] == kept[1]


def test_data_that_fail_in_the_first_step_of_a_run_save_nothing(tmp_path):
    def trouble():
        raise DataError("no picture can be read")

    with pytest.raises(DataError, match="no picture"):
        run(tmp_path, Failing(make_config(**CHANGES), 0, trouble))
    assert not TrainingCheckpoints(tmp_path / "checkpoints").steps()


def test_a_folder_is_trained_in_by_one_run_at_a_time(whole, tmp_path):
    def second():
        with pytest.raises(CheckpointError, match=rf"another run is training in .* \(process {os.getpid()} on "):
            run(tmp_path)
        raise Interrupted

    with pytest.raises(Interrupted):
        run(tmp_path, Failing(make_config(**CHANGES), 3, second))
    outcome, _ = run(tmp_path)  # free again
    assert_identical(outcome.state, whole[1])


@pytest.mark.parametrize("how", ["deleted", "moved", "replaced"])
def test_a_folder_that_vanishes_ends_the_run(tmp_path, how):
    folder = tmp_path / "run"

    def vanish():
        until = time.monotonic() + 60
        while not (folder / "checkpoints" / "2").exists() and time.monotonic() < until:  # it is saved in the background
            time.sleep(0.01)
        if how == "deleted":
            shutil.rmtree(folder)
        else:
            folder.rename(tmp_path / "elsewhere")
        if how == "replaced":
            folder.mkdir()

    with pytest.raises(CheckpointError, match="run is gone: it was deleted, moved or unmounted"):
        run(folder, Failing(make_config(**CHANGES), 3, vanish))
    assert not (folder / "checkpoints").exists()
    if how != "deleted":
        assert TrainingCheckpoints(tmp_path / "elsewhere" / "checkpoints").steps() == [2]


def test_a_checkpoint_in_a_folder_made_anew_is_told(tmp_path, monkeypatch):
    folder, save = tmp_path / "run", TrainingCheckpoints.save

    def late(self, step, *arguments, **options):
        if step == 4:  # it vanishes after the last look at it
            self.wait()
            folder.rename(tmp_path / "elsewhere")
        save(self, step, *arguments, **options)

    monkeypatch.setattr(TrainingCheckpoints, "save", late)
    with pytest.raises(CheckpointError, match="run is gone: .*; a new folder of its name is in the way"):
        run(folder)
    assert (folder / "checkpoints" / "4").exists()


@pytest.mark.parametrize("step", [2, 4])
def test_a_folder_that_vanishes_while_a_checkpoint_is_written_is_what_the_run_ends_with(tmp_path, monkeypatch, step):
    folder, save, failed = tmp_path / "run", TrainingCheckpoints.save, []

    def late(self, number, *arguments, **options):
        if number == step:
            folder.rename(tmp_path / "elsewhere")
            failed.append(number)
            raise CheckpointError("the one before it cannot be written: [Errno 2] No such file or directory")
        save(self, number, *arguments, **options)

    monkeypatch.setattr(TrainingCheckpoints, "save", late)
    with pytest.raises(CheckpointError, match="run is gone: it was deleted, moved or unmounted"):
        run(folder)
    assert failed == [step]


def test_a_folder_that_vanishes_under_the_last_checkpoint_is_what_the_run_ends_with(tmp_path, monkeypatch):
    folder, close = tmp_path / "run", TrainingCheckpoints.close

    def late(self):
        self.wait()
        folder.rename(tmp_path / "elsewhere")
        close(self)
        raise CheckpointError("the last checkpoint cannot be written: [Errno 2] No such file or directory")

    monkeypatch.setattr(TrainingCheckpoints, "close", late)
    with pytest.raises(CheckpointError, match="run is gone: it was deleted, moved or unmounted"):
        run(folder)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_is_ignored_from_the_start_stays_ignored(number):
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with termination() as asked_to_stop:
            signal.raise_signal(number)
            assert signal.getsignal(number) == signal.SIG_IGN and not asked_to_stop(1)
        assert signal.getsignal(number) == signal.SIG_IGN
    finally:
        signal.signal(number, before)


@pytest.mark.usefixtures("ctrl_c_raises")
def test_ctrl_c_to_one_of_several_processes_becomes_the_sigterm_that_jax_tells_all_of(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    caught, before = [], signal.signal(signal.SIGTERM, lambda number, frame: caught.append(number))
    try:
        with pytest.raises(KeyboardInterrupt), termination():
            signal.raise_signal(signal.SIGINT)
            assert caught == [signal.SIGTERM]
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert caught == [signal.SIGTERM]


def test_damaged_checkpoint_falls_back(whole, tmp_path):
    run(tmp_path, steps=4)
    newest = tmp_path / "checkpoints" / "4"
    files = sorted((path for path in newest.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    for path in files[-3:]:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    outcome, lines = run(tmp_path)
    assert any(
        "checkpoint 4" in line and "cannot be read" in line and "going back to checkpoint 2" in line for line in lines
    )
    assert any(line.endswith("checkpoints/unreadable-4") for line in lines)
    assert_identical(outcome.state, whole[1])


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def away(monkeypatch):
    """Checkpoint 4 cannot be read for a while, though nothing is wrong with it."""
    ocp = _orbax()
    load = ocp.load_checkpointables

    def failing(place, wanted):
        if place.name == "4":
            raise OSError(errno.EIO, "Input/output error")
        return load(place, wanted)

    monkeypatch.setattr(ocp, "load_checkpointables", failing)


def test_checkpoint_that_cannot_be_read_is_kept(whole, tmp_path, away):
    run(tmp_path, steps=4)
    written = contents(tmp_path / "checkpoints" / "4")
    outcome, lines = run(tmp_path)
    assert any("checkpoint 4" in line and "Input/output error; going back to checkpoint 2" in line for line in lines)
    assert_identical(outcome.state, whole[1])
    assert contents(tmp_path / "checkpoints" / "unreadable-4") == written
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"4", "6", "unreadable-4"}

    checkpoints = TrainingCheckpoints(tmp_path / "checkpoints")
    assert [path.name for path in checkpoints.put_aside([4])] == ["unreadable-4-2"]
    assert checkpoints.steps() == [6]
    checkpoints.close()


def test_start_that_fails_changes_nothing_and_closes_all(whole, tmp_path, away, monkeypatch):
    run(tmp_path, steps=4)
    written, closed = contents(tmp_path / "checkpoints"), []
    close = TrainingCheckpoints.close
    monkeypatch.setattr(TrainingCheckpoints, "close", lambda self: (closed.append("checkpoints"), close(self)))

    class Other(ToyIterator):
        def set_state(self, state):
            raise DataError("the saved data position is of another data set")

        def close(self):
            closed.append("batches")

    class OtherLoader(ToyLoader):
        def __iter__(self):
            return Other(self.config, self.process)

    with pytest.raises(DataError):
        run(tmp_path, OtherLoader(make_config(**CHANGES)))
    assert contents(tmp_path / "checkpoints") == written
    assert closed == ["batches", "checkpoints"]


def test_records_are_means_also_of_a_run_that_was_interrupted(whole, tmp_path):
    def stop():
        raise Interrupted

    watch = WatchConfig(log_every=3)
    with pytest.raises(Interrupted):
        run(tmp_path, Failing(make_config(**CHANGES), 5, stop), watch=watch)
    _, lines = run(tmp_path, watch=watch)
    assert any("resuming from checkpoint 4" in line for line in lines)  # in the middle of a record
    each, means = (
        [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        for folder in (whole[0], tmp_path)
    )
    assert [record["step"] for record in means] == [3, 6]
    for record, steps in zip(means, (each[:3], each[3:]), strict=True):
        for name in ("loss", "bits_per_token", "grad_norm"):
            assert record[name] == sum(step[name] for step in steps) / 3
        assert record["learning_rate"] == steps[-1]["learning_rate"]
        assert record["loss_by_timestep"] == steps[-1]["loss_by_timestep"]


def test_held_out_batches_are_closed():
    config, closed = make_config("none", watch=WatchConfig(eval_batches=2)), []

    class Closing(ToyIterator):
        def close(self):
            closed.append(self.taken)

    class Loader(ToyLoader):
        def __iter__(self):
            return Closing(self.config, self.process)

    task = DenoiserTask(config, Pretrained(), make_mesh(devices=jax.devices()[:1]))
    assert len(list(held_out(task, Loader(config)))) == 2
    some = held_out(task, Loader(config))
    next(some)
    some.close()
    assert closed == [2, 1]


def test_killed_at_any_moment(whole, tmp_path):
    """kill -9 of a process of its own, a few times, then to the end."""
    script = (
        "import sys, time, jax; from tests.training.test_loop import *; from tests.training import toy\n"
        f"jax.config.update('jax_compilation_cache_dir', {jax.config.jax_compilation_cache_dir!r})\n"
        "jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)\n"
        "slow = toy.ToyIterator.__next__\n"
        "toy.ToyIterator.__next__ = lambda self: (time.sleep(0.3), slow(self))[1]\n"
        "run(sys.argv[1])"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(REPO), "JAX_PLATFORMS": "cpu"}
    random = np.random.default_rng(0)
    for step in (1, 3):
        process = subprocess.Popen(
            command, cwd=REPO, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        journal = tmp_path / "metrics.jsonl"
        while process.poll() is None and not (journal.exists() and f'"step": {step},' in journal.read_text()):
            time.sleep(0.02)
        time.sleep(random.uniform(0, 0.4))  # anywhere in a step, in a save, or after one
        assert process.poll() is None, "the run ended before it was killed"
        process.kill()
        process.wait()
    outcome, _ = run(tmp_path)
    assert_identical(outcome.state, whole[1])


class Seen:
    """A sink that notes what it gets, and whether the model is written when it is closed."""

    name, got = f"{__name__}:Seen", []

    def __init__(self, run):
        self.model = run.folder / "model"

    def scalars(self, step, values):
        self.got.append(step)

    def image(self, step, name, pixels):
        self.got.append(f"{name} {step}")

    def close(self, failed):
        self.got.append((failed, self.model.is_dir()))


def test_keeps_the_last_and_the_best(tmp_path):
    model = make_model(make_config("none"))
    config = make_config("none", **CHANGES)
    often = dict(log_every=3, eval_every=2, sample_every=4)
    watch = WatchConfig(**often, eval_batches=1, num_samples=2, report_to=(Seen.name,))
    checkpoint = CheckpointConfig(every=1, keep_last=1, keep_best=1)
    changed = make_config("none", **(CHANGES | {"watch": watch, "checkpoint": checkpoint}))
    lines = []
    task = DenoiserTask(changed, Pretrained(codec=model.codec), make_mesh(devices=jax.devices()[:1]))
    outcome = train(task, tmp_path, ToyLoader(config), validation=ToyLoader(config), log=lines.append)
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    scores = {r["step"]: r["validation_bits_per_token"] for r in records if "validation_bits_per_token" in r}
    assert set(scores) == {2, 4, 6}
    kept = {int(path.name) for path in (tmp_path / "checkpoints").iterdir() if path.name.isdigit()}
    assert kept == {min(scores, key=scores.get), 6}
    assert (tmp_path / "samples" / "00000004.png").stat().st_size > 0
    assert Seen.got == [2, 3, 4, "samples 4", 6, 6, "samples 6", (False, True)]

    from vqdiffusion_jax import VQDiffusionPipeline

    exported = VQDiffusionPipeline.from_pretrained(tmp_path / "model").model
    jax.tree.map(np.testing.assert_array_equal, exported.denoiser, outcome.state.ema.denoiser)
    jax.tree.map(np.testing.assert_array_equal, exported.codec, model.codec)


def test_non_finite_loss_names_the_batch_and_the_checkpoint(tmp_path):
    run(tmp_path, steps=2)
    config = make_config("none", **CHANGES)
    checkpoints = TrainingCheckpoints(tmp_path / "checkpoints")
    step, state, position, _ = checkpoints.restore(abstract_state(config, make_mesh(devices=jax.devices()[:1])))
    ruined = dataclasses.replace(state, trained=jax.tree.map(lambda leaf: leaf * np.nan, state.trained))
    checkpoints.save(3, ruined, position)
    checkpoints.close()
    with pytest.raises(
        NonFiniteLoss, match=r"step 2: loss nan, .*picture-2-0, .*last good checkpoint is 3 in .*checkpoints"
    ):
        run(tmp_path)
    assert not (tmp_path / "checkpoints" / "4").exists()


def test_folder_is_looked_at_first(tmp_path):
    with pytest.raises(CheckpointError, match="MiB free, but 3 more checkpoints"):
        check_folder(tmp_path, 2**60, 3)
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot be written to"):
        check_folder(tmp_path / "file" / "below", 1, 2)


def test_a_profiled_run_learns_the_same(whole, tmp_path):
    task = copy.copy(compiled_task())
    profile = Profiler(tmp_path / "trace", first=1, count=2)
    outcome = train(task, tmp_path / "run", ToyLoader(task.config), log=lambda line: None, profile=profile)
    assert_identical(outcome.state, whole[1])
    assert list((tmp_path / "trace").rglob("*.trace.json.gz"))
    assert not profile.running
