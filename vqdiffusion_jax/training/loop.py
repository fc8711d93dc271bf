"""The training loop.

    workdir/
      config.json      the configuration that the newest checkpoint was trained with
      checkpoints/     numbered by steps taken; unreadable-N: could not be read, so that training resumed from the one
                       before
      metrics.jsonl    a record each time something was measured: means since the one before
      tensorboard/     the same, for TensorBoard, if ``watch.report_to`` names it
      reported.json    how far the sinks of ``watch.report_to`` got
      samples/         pictures of what has been learned
      model/           the averaged weights as a native folder, when training is done
      lora.safetensors the averaged LoRA, if one is trained, when training is done
      run.lock         held by the process that trains here, until it ends

Data that fail (too many broken pictures, a dead worker) end a run after a checkpoint of the last whole step.

Several processes run the same loop on one mesh and share the folder.  What all of them see (a loss that is no number,
SIGTERM or Ctrl-C to any) ends all at the same step.  What one of them alone sees (too many broken pictures, a full
disk) raises there, without a checkpoint, which takes all of them; the others wait for it in the next collective
operation, until ``cli.processes``, or the caller of ``train``, ends them too.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import shutil
import socket
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from ..checkpoint import TrainingCheckpoints
from ..errors import CheckpointError, NonFiniteLoss, StorageError
from ..files import write_whole
from ..folder_lock import FolderLock
from ..profiling import Profiler
from ..storage.addresses import address_of
from ..storage.folders import Written, written
from ..storage.scratch import as_typed
from ..user_files import read_json
from .batch import Batch, filled, place_batch, sample_names
from .metric_accumulator import MetricAccumulator
from .metric_writer import MetricWriter, Throughput, console_line, writing_to
from .resume import Change, adapt, changes, listed, refuse, refuse_fewer_steps, refuse_networks, saved_with
from .task import BatchIterator, Closeable, Loader, Task
from .termination import termination

# Keys beside the data's position in a checkpoint: ``MetricAccumulator.state``, configuration and networks, and whether
# this step is still to be validated.
_ACCUMULATED, _TRAINED_WITH, _UNVALIDATED = "measured", "trained_with", "unvalidated"

Log = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """The end of a run: the steps taken, whether it was asked to stop before the last, and the state."""

    step: int
    stopped: bool
    state: Any


def train(
    task: Task,
    workdir: str | Path,
    loader: Loader,
    *,
    validation: Loader | None = None,
    log: Log = print,
    profile: Profiler | None = None,
) -> Outcome:
    """Train from the newest checkpoint in ``workdir``, or from the start, to ``task.config.steps``.

    loader, validation: give host batches of this process.  log: takes lines for people, from the first process.
    profile: traces some of the steps, numbered from 0 where this run begins.
    workdir: a folder, or the address of one in a bucket (see ``storage.folders``), where a checkpoint counts when all
    of it has been put.

    On SIGTERM or Ctrl-C the state is saved and the run ends; a second Ctrl-C raises KeyboardInterrupt.
    Raises ConfigError, CheckpointError, StorageError, DataError and NonFiniteLoss, each one line.
    """
    if address_of(workdir) is not None and jax.process_count() > 1:
        raise StorageError(
            f"{workdir}: several processes write to one folder, which a bucket is not; give a disk that all of them see"
        )
    owner = f"process {os.getpid()} on {socket.gethostname()}"
    # Sinks are closed when the model is written: one that waits for its server keeps nothing else waiting.
    with written(workdir, wanted=_is_needed, owner=owner) as place, ExitStack() as at_end:
        return _train(task, place, loader, validation, lambda line: log(as_typed(line)), profile, at_end)


def _is_needed(name: str) -> bool:
    """Return whether a run that goes on reads a file of its folder."""
    return name in ("config.json", "metrics.jsonl", "reported.json") or name.startswith("checkpoints/")


def _train(
    task: Task,
    place: Written,
    loader: Loader,
    validation: Loader | None,
    log: Log,
    profile: Profiler | None,
    at_end: ExitStack,
) -> Outcome:
    config, workdir = task.config, place.folder
    kept = config.checkpoint.keep_last + config.checkpoint.keep_best
    # One more than is kept: an old checkpoint goes only when the new one is whole.
    check_folder(workdir, state_bytes(task.abstract_state()), kept + 1)
    if jax.process_index() > 0:
        log = _silent
    stopped = False
    with ExitStack() as opened:  # closes all that was opened, even if one cannot be
        mine = jax.process_index() == 0
        lock = FolderLock(workdir, "run.lock", doing="training", flag="--workdir", error=CheckpointError, held=mine)
        opened.enter_context(lock)
        opened.enter_context(gone_first(lock))
        checkpoints = TrainingCheckpoints(
            workdir / "checkpoints", keep_last=config.checkpoint.keep_last, keep_best=config.checkpoint.keep_best
        )
        opened.callback(checkpoints.close)
        if place.former is not None:
            other = f"{place.former} still trains in {workdir}, or was killed there"
            log(f"{other}; this run takes over, and the other ends when it notices")
        iterator = iter(loader)
        if isinstance(iterator, Closeable):
            opened.callback(iterator.close)
        state, accumulated, unvalidated = start_state(task, checkpoints, iterator, log)
        first = int(state.step)
        trained_with = {"config": saved_with(config), "networks": dict(task.networks)}
        told = first == 0
        if told:
            write_config(workdir, trained_with["config"])
        report_to = config.watch.report_to
        writer = MetricWriter(workdir, first, report_to=report_to, config=trained_with["config"], log=log)
        at_end.enter_context(writer)
        throughput = Throughput(task.flops_per_sample, config.batch_size, config.steps, first)
        accumulator = MetricAccumulator(lambda: resume_hint(checkpoints), accumulated)
        asked_to_stop = opened.enter_context(termination())
        opened.callback(checkpoints.wait)  # a signal must not cut off the last checkpoint either
        opened.callback(place.wait)
        if profile is not None:
            opened.callback(profile.close)

        def look_for_folder() -> None:
            try:
                lock.check()
            except CheckpointError:
                with suppress(CheckpointError):
                    checkpoints.wait()  # a save under way makes the folder anew, of which the error then tells
                lock.check()
                raise

        def save(done: int, position: dict[str, Any], score: float | None = None, *, again: bool = False) -> None:
            nonlocal told
            place.wait()
            accumulated = accumulator.state()  # which checks every step: a state that went wrong is never saved
            position = {**position, _ACCUMULATED: accumulated, _TRAINED_WITH: trained_with}
            look_for_folder()  # as late as can be: a save makes the folder anew
            checkpoints.save(done, state, position, score=score, again=again)
            if not told:  # only now a checkpoint is of this configuration
                write_config(workdir, trained_with["config"])
                told = True
            place.begin_push(checkpoints.wait)

        if unvalidated and validation is not None:
            save(first, iterator.get_state(), validate(task, state, validation, first, writer, log), again=True)
        for number in range(first, config.steps):
            position = iterator.get_state()
            if profile is not None:
                profile.begin(number - first)
            with saving_in_hand(number if number > first else None, lambda n: save(n, position), log):  # noqa: B023
                with jax.profiler.TraceAnnotation("data"):
                    batch = next(iterator)
                    task.check_batch(batch)
            state, metrics = task.step(state, place_batch(batch, task.mesh))
            if profile is not None:
                profile.end(number - first, metrics)
            accumulator.add(number, sample_names(batch), metrics)
            accumulator.check(keep=1)  # one step stays in flight
            done, score = number + 1, None
            last = done == config.steps
            stopped = asked_to_stop(done) and not last
            if due(done, config.watch.log_every) or last:
                look_for_folder()
                record = accumulator.flush() | throughput.read(done)
                writer.write(done, record | task.record(state))
                log(console_line(done, config.steps, record))
            if number == first:
                accumulator.check()
                throughput.restart(done)  # compilation does not count
            if validation is not None and not stopped and due_or_last(done, config.watch.eval_every, config.steps):
                position = {**iterator.get_state(), _UNVALIDATED: True}
                with saving_in_hand(done, lambda n: save(n, position), log):  # noqa: B023
                    score = validate(task, state, validation, done, writer, log)
                throughput.restart(done)
            if not stopped and due_or_last(done, config.watch.sample_every, config.steps):
                save_pictures(task, state, done, workdir / "samples", writer, log)
                throughput.restart(done)
            if due(done, config.checkpoint.every) or score is not None or stopped or last:
                save(done, iterator.get_state(), score)
            if stopped:
                log(f"asked to stop: saving checkpoint {done}")
                break
    if not stopped:
        for line in task.export(state, workdir):
            log(line)
    return Outcome(int(state.step), stopped, state)


@contextmanager
def gone_first(lock: FolderLock) -> Iterator[None]:
    """Let any error of checkpoints inside, if their folder is gone, be the error that says so."""
    try:
        yield
    except CheckpointError:
        lock.check()
        raise


@contextmanager
def saving_in_hand(step: int | None, save: Callable[[int], None], log: Log) -> Iterator[None]:
    """Save checkpoint ``step`` if reading data inside fails for any reason, and let the failure end the run.

    step: None if there is nothing new to save.  Of several processes only one may have failed, and none can save alone.
    """
    try:
        yield
    except Exception:
        if step is not None and jax.process_count() == 1:
            with suppress(NonFiniteLoss, CheckpointError):  # the failure of the data is what the run ends with
                save(step)
                log(f"the data cannot be read any further: saving checkpoint {step}")
        raise


def _silent(line: str) -> None:
    """Take a line of a process that is not the first."""


def start_state(
    task: Task, checkpoints: TrainingCheckpoints, iterator: BatchIterator, log: Log
) -> tuple[Any, dict[str, Any] | None, bool]:
    """Return the newest readable checkpoint's state, and move ``iterator`` to its position; or a new run's first state.

    The second value is ``MetricAccumulator.state`` of the run that goes on, or None; the third, whether it ended while
    this step was validated.  Raises ConfigError for settings with which the state cannot go on.
    """
    config, workdir = task.config, checkpoints.folder.parent
    before: dict[str, Any] = {}
    found_changes: list[Change] = []

    def accept(step: int, position: dict) -> None:
        trained_with = position.get(_TRAINED_WITH) or {"config": former_config(workdir)}
        before.update(trained_with["config"])
        found_changes[:] = changes(before, config)
        refuse(found_changes, workdir)
        refuse_networks(trained_with.get("networks", {}), task.networks, workdir)
        refuse_fewer_steps(config, step, workdir)

    found = checkpoints.restore(task.abstract_state(), accept)
    if found is None:
        for line in task.report:
            log(line)
        return task.first_state(), None, False
    step, state, position, unreadable = found
    for complaint in unreadable.values():
        log(f"{complaint}; going back to checkpoint {step}")
    accumulated = position.pop(_ACCUMULATED, None)
    position.pop(_TRAINED_WITH, None)
    unvalidated = position.pop(_UNVALIDATED, False)
    iterator.set_state(position)
    state = adapt(state, before, config, found_changes)
    for place in checkpoints.put_aside(unreadable):  # only now that the older one is known to do
        log(f"what could not be read is kept as {place}")
    log(f"resuming from checkpoint {step} in {checkpoints.folder}")
    if found_changes:
        log(f"from here on: {listed(found_changes)} (learning rate {float(state.learning_rate.rate):.4g})")
    return state, accumulated, unvalidated


def former_config(workdir: Path) -> dict[str, Any]:
    """Return config.json of a run whose checkpoints do not hold their configuration yet; {} if there is none."""
    try:
        found = read_json(workdir / "config.json")
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise CheckpointError(f"{error}; put it back, or remove it to go on without comparing settings") from error
    return found if isinstance(found, dict) else {}


def write_config(workdir: Path, table: dict[str, Any]) -> None:
    """Write config.json, from the first process."""
    if jax.process_index() == 0:
        with writing_to(workdir), write_whole(workdir / "config.json") as place:
            place.write_text(json.dumps(table, indent=2) + "\n")


def resume_hint(checkpoints: TrainingCheckpoints) -> str:
    """Return, for an error, the sentence that says from what the run may go on."""
    saved = checkpoints.steps()
    return f"the last good checkpoint is {saved[-1]} in {checkpoints.folder}" if saved else "there is no checkpoint yet"


def held_out(task: Task, loader: Loader) -> Generator[Batch, None, None]:
    """Yield the first ``eval_batches`` batches of ``loader``, on the devices; close its iterator at the end.

    A last batch that is too short for the devices is filled up with samples of weight 0.
    """
    iterator = iter(loader)
    here = max(task.mesh.shape["data"] * task.mesh.shape["fsdp"] // jax.process_count(), 1)
    try:
        for batch in itertools.islice(iterator, task.config.watch.eval_batches):
            task.check_batch(batch)
            yield place_batch(filled(batch, here), task.mesh)
    finally:
        if isinstance(iterator, Closeable):
            iterator.close()


def due(done: int, every: int) -> bool:
    """Return whether ``done`` steps are a multiple of ``every``; never if that is 0."""
    return every > 0 and done % every == 0


def due_or_last(done: int, every: int, steps: int) -> bool:
    """Return ``due``, or whether this is the last step of a run where it ever is."""
    return due(done, every) or (every > 0 and done == steps)


def validate(task: Task, state: Any, loader: Loader, done: int, writer: MetricWriter, log: Log) -> float:
    """Measure on held-out batches, record the numbers and return the score."""
    with closing(held_out(task, loader)) as batches:
        numbers = task.validate(state, batches)
    writer.write(done, {f"validation_{name}": value for name, value in numbers.items()})
    listed = "  ".join(f"{name.replace('_', ' ')} {value:.5g}" for name, value in numbers.items())
    log(f"step {done}/{task.config.steps}  validation: {listed}")
    return numbers[task.score]


def save_pictures(task: Task, state: Any, done: int, folder: Path, writer: MetricWriter, log: Log) -> None:
    """Draw what has been learned and write it, or log why not."""
    pixels = task.pictures(state)
    if isinstance(pixels, str):
        log(f"step {done}/{task.config.steps}  {pixels}")
        return
    if jax.process_index() == 0:
        from PIL import Image

        with writing_to(folder):
            folder.mkdir(exist_ok=True)
            Image.fromarray(pixels).save(folder / f"{done:08d}.png")
    writer.image(done, "samples", pixels)


def state_bytes(abstract: Any) -> int:
    """Return the size of a checkpoint of this state."""
    return sum(math.prod(leaf.shape) * getattr(leaf.dtype, "itemsize", 4) for leaf in jax.tree.leaves(abstract))


def check_folder(folder: Path, size: int, most: int) -> None:
    """Raise CheckpointError unless ``folder`` can be made, written to, and has room for the checkpoints still to come.

    size: bytes of a checkpoint.  most: how many there will ever be at once.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{jax.process_index()}-{os.getpid()}"
        probe.write_bytes(b"x")
        probe.unlink()
    except OSError as error:
        raise CheckpointError(
            f"{folder} cannot be written to: {error.strerror or error}; choose another --workdir"
        ) from error
    there = sum(path.name.isdigit() for path in (folder / "checkpoints").glob("*"))
    free, missing = shutil.disk_usage(folder).free, max(most - there, 1)
    if free < missing * size:
        typed = as_typed(str(folder))
        where = folder if typed == str(folder) else f"TMPDIR, where the copy of {typed} lies,"
        raise CheckpointError(
            f"{where} has {free / 2**20:.4g} MiB free, but {missing} more checkpoints of this model take "
            f"{missing * size / 2**20:.4g} MiB; make room or choose another --workdir"
        )
