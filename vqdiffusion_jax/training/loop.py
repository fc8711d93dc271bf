"""The training loop.

    workdir/
      config.json      what is trained, as this run was started
      checkpoints/     numbered by steps taken
      metrics.jsonl    one record each time something was measured
      tensorboard/     the same, for TensorBoard
      samples/         grids of pictures from the averaged weights
      model/           the averaged weights as a native model folder, when training is done
"""

from __future__ import annotations

import itertools
import json
import math
import os
import shutil
import signal
import threading
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from ..checkpoint import CheckpointError, TrainingCheckpoints
from ..sharding import make_mesh, shard
from .batches import check_batch, names_of, place_batch
from .config import TrainConfig, to_table
from .evaluate import bits_per_token, make_evaluator
from .initial import Parts, whole_model
from .metrics import Journal, Pace, console_line, loss_by_timestep
from .samples import draw
from .state import TrainState, abstract_state, create_state, state_around
from .step import Frozen, make_step


class NonFiniteLoss(ValueError):
    """The loss is no number any more; the message says where and from what to go on."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended: after how many steps, and whether it was asked to stop before the last."""

    step: int
    stopped: bool
    state: TrainState


def train(
    config: TrainConfig,
    workdir: str | Path,
    loader: Any,
    parts: Parts,
    *,
    validation: Any = None,
    mesh: jax.sharding.Mesh | None = None,
    log: Callable[[str], None] = print,
) -> Outcome:
    """Train from the newest checkpoint in ``workdir``, or from the start, to ``config.steps``.

    ``loader``, ``validation``: ``iter()`` gives host batches of this process;
    the training iterator also has ``get_state`` and ``set_state``.  On SIGTERM
    the state is saved and the run ends.  Raises ConfigError, CheckpointError
    and NonFiniteLoss, each one line.
    """
    mesh = mesh or make_mesh(config.mesh.data, config.mesh.fsdp, config.mesh.tensor)
    step_fn = make_step(config, mesh)
    workdir = Path(workdir)
    check_folder(workdir, state_bytes(config, mesh))
    log = log if jax.process_index() == 0 else lambda line: None
    checkpoints = TrainingCheckpoints(
        workdir / "checkpoints", keep_last=config.checkpoint.keep_last, keep_best=config.checkpoint.keep_best
    )
    batches = iter(loader)
    state = start_state(config, mesh, checkpoints, batches, parts, log)
    first = int(state.step)
    if jax.process_index() == 0:
        (workdir / "config.json").write_text(json.dumps(to_table(config), indent=2, default=str) + "\n")
    towers = shard(Frozen(codec=parts.codec, text_encoder=parts.text_encoder), mesh)
    validator = Validator(config, validation, mesh) if validation is not None and config.watch.eval_every else None
    journal, pace = Journal(workdir, first), Pace(config.model, config.batch_size, config.steps, first)
    watched: list[tuple[int, list[str], dict[str, jax.Array]]] = []  # steps whose loss nobody has looked at yet
    latest: dict[str, float] = {}

    def look(keep: int) -> None:
        """Wait for all but the last ``keep`` steps and stop if one went wrong."""
        while len(watched) > keep:
            step, names, measured = watched.pop(0)
            latest.update({name: float(value) for name, value in jax.device_get(measured).items()})
            if not math.isfinite(latest["loss"]) or not math.isfinite(latest["grad_norm"]):
                saved = checkpoints.steps()
                go_on = f"the last good checkpoint is {saved[-1]} in {checkpoints.folder}" if saved else "there is no checkpoint yet"
                raise NonFiniteLoss(
                    f"step {step}: loss {latest['loss']}, gradient norm {latest['grad_norm']}; "
                    f"batch: {', '.join(names) or 'unnamed'}; {go_on}"
                )

    stopped = False
    try:
        with termination() as asked_to_stop:
            for number in range(first, config.steps):
                batch = next(batches)
                check_batch(batch, config.model)
                # Without a codec in the batch's way it need not be in the program either.
                frozen = towers if "images" in batch else Frozen(text_encoder=towers.text_encoder)
                state, measured = step_fn(state, place_batch(batch, mesh), frozen)
                watched.append((number, names_of(batch), measured))
                look(keep=1)  # one step stays in flight
                done, score = number + 1, None
                last = done == config.steps
                stopped = asked_to_stop(done) and not last
                if due(done, config.watch.log_every) or last:
                    look(keep=0)
                    record = latest | pace.read(done)
                    by_timestep = loss_by_timestep(state.losses.history, config.model.denoiser.num_tokens)
                    journal.write(done, record | {"loss_by_timestep": by_timestep})
                    log(console_line(done, config.steps, record))
                if number == first:
                    look(keep=0)
                    pace.forget(done)  # compilation
                if validator is not None and not stopped and (due(done, config.watch.eval_every) or last):
                    score = validator(state, towers)
                    journal.write(done, {"validation_bits_per_token": score})
                    log(f"step {done}/{config.steps}  validation {score:.5g} bits/token")
                    pace.forget(done)
                if config.watch.sample_every and not stopped and (due(done, config.watch.sample_every) or last):
                    save_samples(config, done, state, parts, mesh, workdir, journal, log)
                    pace.forget(done)
                if due(done, config.checkpoint.every) or score is not None or stopped or last:
                    look(keep=0)  # a state that went wrong is never saved
                    checkpoints.save(done, state, batches.get_state(), score=score)
                if stopped:
                    log(f"asked to stop: saving checkpoint {done}")
                    break
    finally:
        journal.close()
        if hasattr(batches, "close"):
            batches.close()
        checkpoints.close()
    if not stopped:
        export(config, state, parts, workdir, log)
    return Outcome(int(state.step), stopped, state)


def start_state(config: TrainConfig, mesh, checkpoints: TrainingCheckpoints, batches: Any, parts: Parts, log) -> TrainState:
    """The newest readable checkpoint, with the data moved to its position, or the first state of a new run."""
    found = checkpoints.restore(abstract_state(config, mesh))
    if found is None:
        for line in parts.report:
            log(line)
        return create_state(config, mesh) if parts.denoiser is None else state_around(config, mesh, parts.denoiser)
    step, state, position, complaints = found
    for complaint in complaints:
        log(f"{complaint}; going back to checkpoint {step}")
    for later in [saved for saved in checkpoints.steps() if saved > step]:
        checkpoints.delete(later)  # unreadable, and its number will be needed again
    batches.set_state(position)
    log(f"resuming from checkpoint {step} in {checkpoints.folder}")
    return state


class Validator:
    """Bits per token of the averaged weights on the first ``eval_batches`` held-out batches."""

    def __init__(self, config: TrainConfig, loader: Any, mesh: jax.sharding.Mesh):
        self._config, self._loader, self._mesh = config, loader, mesh
        self._evaluate = make_evaluator(config.model)

    def __call__(self, state: TrainState, frozen: Frozen) -> float:
        def placed():
            for batch in itertools.islice(iter(self._loader), self._config.watch.eval_batches):
                check_batch(batch, self._config.model)
                yield place_batch(batch, self._mesh)

        return bits_per_token(self._evaluate, state.ema, placed(), frozen)


def due(done: int, every: int) -> bool:
    return every > 0 and done % every == 0


def save_samples(config: TrainConfig, done: int, state: TrainState, parts: Parts, mesh, workdir: Path, journal: Journal, log) -> None:
    """Draw the grid and write it; without a codec, or over several processes, say why not."""
    if parts.codec is None or jax.process_count() > 1:
        why = "no codec was given" if parts.codec is None else "several processes cannot draw together"
        log(f"step {done}/{config.steps}  no pictures: {why}; draw them from a checkpoint with --mode=sample")
        return
    from PIL import Image

    pixels = draw(config, state.ema, parts, mesh)
    folder = workdir / "samples"
    folder.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(folder / f"{done:08d}.png")
    journal.picture(done, "samples", pixels)


def export(config: TrainConfig, state: TrainState, parts: Parts, workdir: Path, log) -> None:
    """Write the averaged weights as a model folder; a folder of an earlier end of the run is replaced."""
    if parts.codec is None or jax.process_count() > 1:
        return
    from ..loading import write_folder

    place = workdir / "model"
    shutil.rmtree(place, ignore_errors=True)
    write_folder(place, whole_model(config, state.ema, parts), parts.tokenizer, provenance=f"Trained for {int(state.step)} steps.")
    log(f"written: {place}")


def state_bytes(config: TrainConfig, mesh: jax.sharding.Mesh) -> int:
    """Size of a checkpoint."""
    leaves = jax.tree.leaves(abstract_state(config, mesh))
    return sum(math.prod(leaf.shape) * getattr(leaf.dtype, "itemsize", 4) for leaf in leaves)


def check_folder(folder: Path, needed: int) -> None:
    """Raise CheckpointError unless ``folder`` can be made and written to and has room for two checkpoints of ``needed`` bytes."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{os.getpid()}"
        probe.write_bytes(b"x")
        probe.unlink()
    except OSError as error:
        raise CheckpointError(f"{folder} cannot be written to: {error.strerror or error}; choose another --workdir") from error
    free = shutil.disk_usage(folder).free
    if free < 2 * needed:  # the old one is removed only when the new one is whole
        raise CheckpointError(
            f"{folder} has {free / 2**30:.3g} GiB free, but two checkpoints of this model take {2 * needed / 2**30:.3g} GiB; "
            "make room or choose another --workdir"
        )


@contextmanager
def termination():
    """Gives a function of the steps done that says whether to stop: after SIGTERM, and on all processes at the same step."""
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        yield multihost_utils.reached_preemption_sync_point
        return
    if threading.current_thread() is not threading.main_thread():
        yield lambda done: False
        return
    asked = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda number, frame: asked.set())
    try:
        yield lambda done: asked.is_set()
    finally:
        signal.signal(signal.SIGTERM, before)
