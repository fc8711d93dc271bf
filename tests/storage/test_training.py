"""Runs whose folder is in a bucket: killed, resumed, taken over."""

import copy
import dataclasses
import functools
import json
import shutil

import jax
import numpy as np
import pytest

from tests.storage.buckets import names, put, read
from tests.training.toy import ToyIterator, ToyLoader, make_config
from vqdiffusion_jax.checkpoint import _without_keys
from vqdiffusion_jax.errors import CheckpointError, DataError, StorageError
from vqdiffusion_jax.sharding import make_mesh
from vqdiffusion_jax.storage.mark import MARK
from vqdiffusion_jax.storage.stored_folder import StoredFolder
from vqdiffusion_jax.training.config import CheckpointConfig, WatchConfig
from vqdiffusion_jax.training.denoiser.init_from import Pretrained
from vqdiffusion_jax.training.denoiser.task import DenoiserTask
from vqdiffusion_jax.training.loop import train

STEPS = 6
CONFIG = make_config(
    steps=STEPS, checkpoint=CheckpointConfig(every=2, keep_last=2), watch=WatchConfig(log_every=1, sample_every=0)
)


@functools.cache
def compiled_task():
    return DenoiserTask(CONFIG, Pretrained(), make_mesh(devices=jax.devices()[:1]))


def run(workdir, loader=None):
    """Return the outcome and the lines of a run."""
    lines = []
    return train(copy.copy(compiled_task()), workdir, loader or ToyLoader(CONFIG), log=lines.append), lines


def leaves(state):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(_without_keys(state))]


class Killed(BaseException):
    """An end that nothing inside the loop catches."""


class Ending(ToyLoader):
    """Calls ``end`` in place of giving batch ``at``."""

    def __init__(self, at, end):
        super().__init__(CONFIG)
        self.at, self.end = at, end

    def __iter__(self):
        loader = self

        class Iterator(ToyIterator):
            def __next__(self):
                if self.taken == loader.at:
                    loader.end()
                return super().__next__()

        return Iterator(self.config, self.process)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The arrays of an uninterrupted run on a disk."""
    outcome, _ = run(tmp_path_factory.mktemp("whole"))
    return leaves(outcome.state)


def test_a_killed_run_goes_on_in_the_bucket_with_equal_bits(folder, whole, monkeypatch):
    def kill():
        monkeypatch.setattr(StoredFolder, "push", lambda self: None)  # a process that is gone puts nothing
        monkeypatch.setattr(StoredFolder, "release", lambda self: None)
        raise Killed

    with pytest.raises(Killed):
        run(folder, Ending(5, kill))
    monkeypatch.undo()
    there = names(folder)
    assert MARK in there and "checkpoints/2/commit_success.txt" in there
    put(f"{folder}/checkpoints/5/state/half", b"what a killed process had put of a checkpoint")
    outcome, lines = run(folder)
    assert any("this run takes over" in line for line in lines)
    step = next(line for line in lines if "resuming from checkpoint" in line)
    assert step in (f"resuming from checkpoint {n} in {folder}/checkpoints" for n in (2, 4))
    for one, other in zip(leaves(outcome.state), whole, strict=True):
        np.testing.assert_array_equal(one, other)
    after = names(folder)
    kept = {name.split("/")[1] for name in after if name.startswith("checkpoints/")}
    assert kept == {"4", "6"} and MARK not in after and "config.json" in after
    records = [json.loads(line) for line in read(f"{folder}/metrics.jsonl").splitlines()]
    assert [record["step"] for record in records] == list(range(1, STEPS + 1))


def test_a_run_that_another_one_took_over_ends(folder):
    begun = []

    def take_over():
        if not begun:
            begun.append(True)
            put(f"{folder}/{MARK}", b"process 7 on another, run x")

    with pytest.raises(StorageError, match=r"another has begun there \(process 7 on another\)"):
        run(folder, Ending(3, take_over))
    assert read(f"{folder}/{MARK}") == b"process 7 on another, run x"
    assert "checkpoints/6/commit_success.txt" not in names(folder)


def test_what_was_reported_is_kept_in_the_bucket(folder, monkeypatch):
    monkeypatch.setattr(f"{__name__}.compiled_task", functools.cache(reporting_task))
    Noted.steps.clear()
    with pytest.raises(DataError):
        run(folder, Ending(3, out_of_data))
    assert json.loads(read(f"{folder}/reported.json"))["sent"][Noted.name]["step"] == 3
    assert read(f"{folder}/noted.txt") == b"123"
    run(folder)
    assert Noted.steps == list(range(1, STEPS + 1)) and read(f"{folder}/noted.txt") == b"456"


class Noted:
    """A sink that writes to the run's folder, as TensorBoard's does."""

    name, steps = f"{__name__}:Noted", []

    def __init__(self, run):
        self.place = run.folder / "noted.txt"
        self.place.write_text("")

    def scalars(self, step, values):
        self.steps.append(step)
        self.place.write_text(f"{self.place.read_text()}{step}")

    def image(self, step, name, pixels): ...

    def close(self, failed): ...


def reporting_task():
    config = dataclasses.replace(CONFIG, watch=dataclasses.replace(CONFIG.watch, report_to=(Noted.name,)))
    return DenoiserTask(config, Pretrained(), make_mesh(devices=jax.devices()[:1]))


def out_of_data():
    raise DataError("no more")


def test_a_disk_too_small_for_the_copy_is_told_as_such(monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: shutil._ntuple_diskusage(10, 10, 0))
    with pytest.raises(CheckpointError, match="^TMPDIR, where the copy of memory://b/run lies, has 0 MiB free"):
        run("memory://b/run")


def test_several_processes_are_refused_before_anything_is_done(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(StorageError, match="^memory://b/run: several processes"):
        run("memory://b/run")
