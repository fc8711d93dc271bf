"""The training loop.

    workdir/
      config.json      what is trained, as this run was started
      checkpoints/     numbered by steps taken; unreadable-N: could not be read, so that training resumed from the previous one
      metrics.jsonl    one record each time something was measured: means since the one before
      tensorboard/     the same, for TensorBoard
      samples/         pictures of what has been learned
      model/           the averaged weights as a native folder, when training is done

Several processes run the same loop on one mesh and share the folder.  What all
of them see (a loss that is no number, SIGTERM or Ctrl-C to any) ends all at the
same step.  What one of them alone sees (too many broken pictures, a full disk)
raises there; the others wait for it in the next collective operation, until
``cli.processes``, or whoever called ``train``, ends them too.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from ..checkpoint import TrainingCheckpoints
from ..errors import CheckpointError
from .batches import names_of, place_batch
from .config import to_table
from .metric_accumulator import Measured
from .metric_writer import Journal, Pace, console_line, writing_to
from .task import Batch, Task

SUMS = "measured"  # what ``Measured.state`` gave, in a checkpoint beside the data's position


@dataclass(frozen=True)
class Outcome:
    """How a run ended: after how many steps, and whether it was asked to stop before the last."""

    step: int
    stopped: bool
    state: Any


def train(
    task: Task,
    workdir: str | Path,
    loader: Any,
    *,
    validation: Any = None,
    log: Callable[[str], None] = print,
) -> Outcome:
    """Train from the newest checkpoint in ``workdir``, or from the start, to ``task.config.steps``.

    ``loader``, ``validation``: ``iter()`` gives host batches of this process;
    the training iterator also has ``get_state`` and ``set_state``.  On SIGTERM
    or Ctrl-C the state is saved and the run ends; a second Ctrl-C raises
    KeyboardInterrupt.  Raises ConfigError, CheckpointError and NonFiniteLoss,
    each one line.
    """
    config, watch, workdir = task.config, task.config.watch, Path(workdir)
    kept = config.checkpoint.keep_last + config.checkpoint.keep_best
    check_folder(
        workdir, state_bytes(task.abstract_state()), kept + 1
    )  # an old one goes only when the new one is whole
    log = log if jax.process_index() == 0 else lambda line: None
    stopped = False
    with ExitStack() as opened:  # closes all that was opened, even if one cannot be
        checkpoints = TrainingCheckpoints(
            workdir / "checkpoints", keep_last=config.checkpoint.keep_last, keep_best=config.checkpoint.keep_best
        )
        opened.callback(checkpoints.close)
        batches = iter(loader)
        if hasattr(batches, "close"):
            opened.callback(batches.close)
        state, sums = start_state(task, checkpoints, batches, log)
        first = int(state.step)
        if jax.process_index() == 0:
            with writing_to(workdir):
                (workdir / "config.json").write_text(json.dumps(to_table(config), indent=2, default=str) + "\n")
        journal, pace = Journal(workdir, first), Pace(task.flops_per_sample, config.batch_size, config.steps, first)
        opened.callback(journal.close)
        measured = Measured(lambda: last_good(checkpoints), sums)
        asked_to_stop = opened.enter_context(termination())
        for number in range(first, config.steps):
            batch = next(batches)
            task.check_batch(batch)
            state, metrics = task.step(state, place_batch(batch, task.mesh))
            measured.add(number, names_of(batch), metrics)
            measured.look(keep=1)  # one step stays in flight
            done, score = number + 1, None
            last = done == config.steps
            stopped = asked_to_stop(done) and not last
            if due(done, watch.log_every) or last:
                record = measured.record() | pace.read(done)
                journal.write(done, record | task.record(state))
                log(console_line(done, config.steps, record))
            if number == first:
                measured.look()
                pace.forget(done)  # compilation
            if validation is not None and not stopped and watch.eval_every and (due(done, watch.eval_every) or last):
                with closing(held_out(task, validation)) as held:
                    found = task.validate(state, held)
                score = found[task.score]
                journal.write(done, {f"validation_{name}": value for name, value in found.items()})
                said = "  ".join(f"{name.replace('_', ' ')} {value:.5g}" for name, value in found.items())
                log(f"step {done}/{config.steps}  validation: {said}")
                pace.forget(done)
            if watch.sample_every and not stopped and (due(done, watch.sample_every) or last):
                save_pictures(task, state, done, workdir / "samples", journal, log)
                pace.forget(done)
            if due(done, config.checkpoint.every) or score is not None or stopped or last:
                sums = measured.state()  # which looks at every step: a state that went wrong is never saved
                checkpoints.save(done, state, {**batches.get_state(), SUMS: sums}, score=score)
            if stopped:
                log(f"asked to stop: saving checkpoint {done}")
                break
    if not stopped:
        for line in task.export(state, workdir):
            log(line)
    return Outcome(int(state.step), stopped, state)


def start_state(task: Task, checkpoints: TrainingCheckpoints, batches: Any, log) -> tuple[Any, dict[str, Any] | None]:
    """The newest readable checkpoint, with the data moved to its position, or the first state of a new run.

    Returns the state and, where there is one, ``Measured.state`` of the run that goes on.
    """
    found = checkpoints.restore(task.abstract_state())
    if found is None:
        for line in task.report:
            log(line)
        return task.first_state(), None
    step, state, position, unreadable = found
    for complaint in unreadable.values():
        log(f"{complaint}; going back to checkpoint {step}")
    sums = position.pop(SUMS, None)
    batches.set_state(position)
    for place in checkpoints.put_aside(unreadable):  # only now that the older one is known to do
        log(f"what could not be read is kept as {place}")
    log(f"resuming from checkpoint {step} in {checkpoints.folder}")
    return state, sums


def last_good(checkpoints: TrainingCheckpoints) -> str:
    saved = checkpoints.steps()
    return f"the last good checkpoint is {saved[-1]} in {checkpoints.folder}" if saved else "there is no checkpoint yet"


def held_out(task: Task, loader: Any) -> Iterator[Batch]:
    """The first ``eval_batches`` batches of ``loader``, on the devices; what reads them ahead ends with the generator."""
    batches = iter(loader)
    try:
        for batch in itertools.islice(batches, task.config.watch.eval_batches):
            task.check_batch(batch)
            yield place_batch(batch, task.mesh)
    finally:
        if hasattr(batches, "close"):
            batches.close()


def due(done: int, every: int) -> bool:
    return every > 0 and done % every == 0


def save_pictures(task: Task, state: Any, done: int, folder: Path, journal: Journal, log) -> None:
    """Draw what has been learned and write it, or say why not."""
    pixels = task.pictures(state)
    if isinstance(pixels, str):
        log(f"step {done}/{task.config.steps}  {pixels}")
        return
    if jax.process_index() == 0:
        from PIL import Image

        with writing_to(folder):
            folder.mkdir(exist_ok=True)
            Image.fromarray(pixels).save(folder / f"{done:08d}.png")
    journal.picture(done, "samples", pixels)


def state_bytes(abstract: Any) -> int:
    """Size of a checkpoint."""
    return sum(math.prod(leaf.shape) * getattr(leaf.dtype, "itemsize", 4) for leaf in jax.tree.leaves(abstract))


def check_folder(folder: Path, size: int, most: int) -> None:
    """Raise CheckpointError unless ``folder`` can be made and written to and has room for as many checkpoints
    of ``size`` bytes as are still to come of the ``most`` that will ever be there at once."""
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
        raise CheckpointError(
            f"{folder} has {free / 2**20:.4g} MiB free, but {missing} more checkpoints of this model take "
            f"{missing * size / 2**20:.4g} MiB; make room or choose another --workdir"
        )


@contextmanager
def termination():
    """Gives a function of the steps done that says whether to stop: after SIGTERM or Ctrl-C, and on all processes at the same step.

    A second Ctrl-C does what it did before: where nobody set otherwise, it raises KeyboardInterrupt.
    """
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        to_stop = (
            multihost_utils.reached_preemption_sync_point
        )  # JAX itself listens to SIGTERM, and tells the other processes
        handlers = {signal.SIGINT: lambda: os.kill(os.getpid(), signal.SIGTERM)}
    else:
        asked = threading.Event()

        def to_stop(done: int) -> bool:
            return asked.is_set()

        handlers = {signal.SIGINT: asked.set, signal.SIGTERM: asked.set}
    if threading.current_thread() is not threading.main_thread():
        handlers = {}  # only the main thread may say what a signal does
    before = {number: signal.getsignal(number) for number in handlers}

    def caught(number: int, frame: Any) -> None:
        handlers[number]()
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, before[signal.SIGINT])
            with suppress(OSError):  # print may be what was interrupted, and must not be called again
                os.write(2, b"stopping soon, with a checkpoint; Ctrl-C again ends at once\n")

    for number in handlers:
        signal.signal(number, caught)
    try:
        yield to_stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
