"""Weights on disk; the only module that knows orbax.

Leaves are stored under their dotted parameter paths, so any layout of processes can read a file, straight to its
shards.
"""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from .errors import CheckpointError
from .multihost import all_gather_text, barrier, broadcast_from_first
from .paths import leaves_by_path, path_of
from .safetensors_weights import check_fits
from .user_files import check_regular, check_tree

CHUNK_BYTES = 64 * 2**20
CONCURRENT_BYTES = 256 * 2**20
_LONGEST_REASON = 300  # characters; orbax lists every array


def _orbax():
    from orbax.checkpoint import v1  # imported when needed: it takes seconds

    return v1


def save_weights(folder: Path, tree: Any) -> None:
    """Write every leaf of ``tree`` to ``folder``, which must not exist.  All processes call this.

    Memory beyond the weights is bounded: host arrays are not copied, and pieces of at most CHUNK_BYTES are written, a
    few at a time.
    """
    ocp, leaves = _orbax(), leaves_by_path(tree)
    largest = max((leaf.nbytes for leaf in leaves.values()), default=0)
    context = ocp.Context()
    context.array.saving.storage_options.chunk_byte_size = CHUNK_BYTES
    context.array.saving.use_compression = False  # trained weights hardly compress
    # Orbax refuses an array as large as the limit.
    context.memory.write_concurrent_bytes = max(largest, CONCURRENT_BYTES) + 1
    context.memory.deepcopy_host_arrays = False
    with context:
        ocp.save(str(Path(folder).absolute()), leaves)


def load_weights(folder: Path, abstract: Any, shardings: Any = None) -> Any:
    """Read weights into the structure, dtypes and (optionally) shardings given.

    Args:
        folder: as ``save_weights`` writes it.
        abstract: a tree of ShapeDtypeStructs, for instance from ``jax.eval_shape``.
        shardings: a tree of them; by default everything goes to the first local device.

    Raises:
        CheckpointError: if the folder is no checkpoint or holds other leaves.
    """
    ocp = _orbax()
    folder = Path(folder).absolute()
    place = str(folder)
    if folder.exists():
        with failing_as_checkpoint_error(f"{folder} cannot be read"):
            check_tree(folder)
    if not ocp.is_orbax_checkpoint(place):
        raise CheckpointError(f"{folder} holds no weights; expected a folder written by save_pretrained")
    with failing_as_checkpoint_error(f"{folder} is damaged, so copy or convert it again"):
        described = ocp.metadata(place).metadata
        if not isinstance(described, dict):  # orbax logs the reason and returns None
            raise CheckpointError("its list of arrays cannot be read")
        stored = {name: tuple(leaf.shape) for name, leaf in described.items()}
        whole_numbers = {name for name, leaf in described.items() if not jnp.issubdtype(leaf.dtype, jnp.floating)}
    paths, structure = jax.tree_util.tree_flatten_with_path(abstract)
    check_fits(stored, abstract, str(folder), whole_numbers=whole_numbers)
    if shardings is None:
        here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        placed = [here] * len(paths)
    else:
        placed = jax.tree.leaves(shardings)
    targets = {
        path_of(key_path): jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
        for (key_path, leaf), sharding in zip(paths, placed, strict=True)
    }
    with failing_as_checkpoint_error(f"{folder} cannot be read; if it is damaged, copy or convert it again"):
        restored = ocp.load(place, targets)
    return jax.tree.unflatten(structure, [restored[path_of(key_path)] for key_path, _ in paths])


class TrainingCheckpoints:
    """Numbered checkpoints of a run in one folder, written in the background, each whole or absent.

    The last ``keep_last`` are kept, and the ``keep_best`` of lowest ``score``.  All processes make one and call the
    same methods.
    """

    def __init__(self, folder: str | Path, *, keep_last: int = 2, keep_best: int = 0):
        ocp = _orbax()
        # Orbax annotates policies with a protocol that its own classes do not match.
        policies: Any = ocp.training.preservation_policies
        decisions: Any = ocp.training.save_decision_policies
        keep = [policies.LatestN(keep_last)]
        if keep_best:
            best = policies.BestN(
                get_metric_fn=lambda metrics: metrics["score"],
                n=keep_best,
                reverse=True,
                keep_checkpoints_without_metrics=False,
            )
            keep.append(best)
        self.folder = Path(folder).absolute()
        # Orbax reads these files of every checkpoint when it opens the folder, and would wait for a pipe.
        with failing_as_checkpoint_error(f"{self.folder} cannot be read; move away what is not a checkpoint's"):
            for place in itertools.chain(self.folder.glob("*/_CHECKPOINT_METADATA"), self.folder.glob("*/metrics/*")):
                check_regular(place)
        self._checkpointer = ocp.training.Checkpointer(
            str(self.folder),
            save_decision_policy=decisions.FixedIntervalPolicy(1),
            preservation_policy=policies.AnyPreservationPolicy(keep),
            cleanup_tmp_directories=True,  # left by a run that was killed
        )

    def steps(self) -> list[int]:
        """Return the steps of all checkpoints, oldest first."""
        return sorted(checkpoint.step for checkpoint in self._checkpointer.checkpoints)

    def save(self, step: int, state: Any, position: dict, *, score: float | None = None, again: bool = False) -> None:
        """Begin to write a checkpoint; return once the arrays may be donated.

        Args:
            step: its number; nothing happens if it exists, unless ``again`` replaces it.
            state: a pytree of arrays.
            position: plain JSON.
            score: the measure of the best checkpoints, lower being better.

        Raises:
            CheckpointError: if this save, or the one still being written, fails.
        """
        if step in self.steps() and not again:
            return
        items = {"state": leaves_by_path(_without_keys(state)), "position": position}
        with failing_as_checkpoint_error(
            f"checkpoint {step}, or the one before it, cannot be written to {self.folder}"
        ):
            self._checkpointer.save_checkpointables_async(
                step, items, metrics=None if score is None else {"score": score}, overwrite=again
            )

    def wait(self) -> None:
        """Wait until everything is on disk.  Raises CheckpointError if it could not be written."""
        with failing_as_checkpoint_error(f"the last checkpoint cannot be written to {self.folder}"):
            self._checkpointer.wait()

    def restore(
        self, abstract: Any, accept: Callable[[int, dict], None] | None = None
    ) -> tuple[int, Any, dict, dict[int, str]] | None:
        """Read the newest readable checkpoint.  Processes go back together: none takes what one of them cannot read.

        Args:
            abstract: ShapeDtypeStructs with shardings, which need not be those it was saved with.
            accept: called with a checkpoint's step and position before its state is read; raises to refuse it.

        Returns:
            (step, state, position, the faults of each newer checkpoint by step), or None if the folder has none.

        Raises:
            CheckpointError: if there are checkpoints and none can be read, or one is of another structure.
        """
        unreadable = {}
        plain = jax.eval_shape(_without_keys, abstract)
        placed = jax.tree.map(
            lambda a, like: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=like.sharding), plain, abstract
        )
        for step in reversed(
            broadcast_from_first(self.steps())
        ):  # on a network disk a process may not see yet what another sees
            found, reasons = self._read(step, {"position": None})
            if found is not None:
                if accept is not None:
                    accept(step, found["position"])
                self._check_structure(step, leaves_by_path(plain))
                found, reasons = self._read(step, {"state": leaves_by_path(placed), "position": None})
            if found is None:
                failed = [index for index, reason in enumerate(reasons) if reason]
                by = "" if len(failed) == len(reasons) else f" by process {', '.join(map(str, failed))}"
                unreadable[step] = f"checkpoint {step} in {self.folder} cannot be read{by}: {reasons[failed[0]]}"
                continue
            paths, structure = jax.tree_util.tree_flatten_with_path(abstract)
            leaves = [
                _key_of(found["state"][path_of(path)], leaf) if _is_key(leaf) else found["state"][path_of(path)]
                for path, leaf in paths
            ]
            return step, jax.tree.unflatten(structure, leaves), found["position"], unreadable
        if unreadable:
            raise CheckpointError("; ".join(unreadable.values()))
        return None

    def _check_structure(self, step: int, wanted: dict[str, Any]) -> None:
        """Raise CheckpointError, one line, if checkpoint ``step`` holds other arrays than ``wanted``.

        A checkpoint that does not tell its arrays is left to reading.
        """
        try:
            described = _orbax().checkpointables_metadata(str(self.folder / str(step))).metadata["state"]
            stored = {name: tuple(leaf.shape) for name, leaf in described.items()}
        except Exception:  # damaged, of which ``_read`` tells
            return
        ours = {name: tuple(leaf.shape) for name, leaf in wanted.items()}
        if not stored or stored == ours:
            return
        differing = [name for name in sorted(stored.keys() | ours.keys()) if stored.get(name) != ours.get(name)]
        first = differing[0]
        there, here = (str(shapes.get(first, "absent")) for shapes in (stored, ours))
        raise CheckpointError(
            f"checkpoint {step} in {self.folder} was saved with another model or optimizer: {first} is {there} there "
            f"and {here} here ({len(differing)} arrays differ); set the configuration back, or start anew in another "
            "--workdir"
        )

    def _read(self, step: int, wanted: dict[str, Any]) -> tuple[dict[str, Any] | None, list[str]]:
        """Return checkpoint ``step``, None unless all processes can read it, and why each cannot ("" if it can).

        Each reads for itself and tells the others the outcome; in orbax's own barriers they would wait for one that
        failed.
        """
        ocp, place = _orbax(), self.folder / str(step)
        by_itself = ocp.Context()
        if jax.process_count() > 1:
            by_itself.multiprocessing.active_processes = {ocp.multihost.process_index()}
            by_itself.multiprocessing.primary_host = None

        def load() -> dict[str, Any]:
            check_tree(place)
            return ocp.load_checkpointables(place, wanted)

        with by_itself:
            found, reason = _attempt(load)
        reasons = all_gather_text(reason)
        if not any(reasons):
            return found, reasons
        if jax.process_count() > 1:
            _count_operations_alike()
        return None, reasons

    def put_aside(self, steps: Iterable[int]) -> list[Path]:
        """Rename checkpoints to ``unreadable-N``: they no longer count, and training may reach their numbers again.

        Returns their new places, in process 0.  Nothing is renamed before every process has called this.
        """
        steps, places = sorted(steps), []
        if not steps:
            return places
        barrier(f"checkpoints {steps} are to be put aside")
        if jax.process_index() == 0:
            for step in steps:
                names = itertools.chain(
                    [f"unreadable-{step}"], (f"unreadable-{step}-{again}" for again in itertools.count(2))
                )
                places.append(next(place for name in names if not (place := self.folder / name).exists()))
                with failing_as_checkpoint_error(
                    f"checkpoint {step} in {self.folder} cannot be renamed to {places[-1].name}"
                ):
                    (self.folder / str(step)).rename(places[-1])
        barrier(f"checkpoints {steps} are put aside")
        self._checkpointer.reload()
        return places

    def close(self) -> None:
        """Wait until everything is on disk, and release orbax's threads."""
        self.wait()
        self._checkpointer.close()


@contextmanager
def failing_as_checkpoint_error(message: str) -> Iterator[None]:
    """Turn any failure inside into a CheckpointError "message: reason" of one line, except running out of memory."""
    try:
        yield
    except Exception as error:  # a full disk or a short file arrives as an error of tensorstore, orbax or the system
        if _out_of_memory(error):
            raise
        reason = _first_line(error)
        full = os.strerror(errno.ENOSPC)
        if full in str(error) and not isinstance(error, OSError):  # tensorstore's message is long
            reason = f"{full}; make room and start again"
        raise CheckpointError(f"{message}: {reason}") from error


def _count_operations_alike() -> None:
    """Raise every process's count of orbax's operations to the highest; one that failed early has not counted its own.

    Where processes meet in orbax they wait for the same number.  All processes call this.  Raises CheckpointError, in
    all of them, if orbax keeps the number elsewhere, because they would wait for ever.
    """
    try:
        # There is no public way to the number.
        from orbax.checkpoint._src.futures.synchronization import OperationIdGenerator

        number, count_one = OperationIdGenerator.get_current_operation_id, OperationIdGenerator.next_operation_id
    except (ImportError, AttributeError) as error:
        raise CheckpointError(
            f"with orbax-checkpoint {version('orbax-checkpoint')} processes cannot go on together after a "
            "checkpoint that one of them could not read; install orbax-checkpoint 0.12, or start one process alone"
        ) from error
    most = max(map(int, all_gather_text(number())))
    while int(number()) < most:
        count_one()


def _attempt(read: Callable[[], Any]) -> tuple[Any, str]:
    """Return the result of ``read`` and "", or None and the reason why it failed, except running out of memory."""
    try:
        return read(), ""
    except Exception as error:  # a damaged file or an absent disk may raise anything
        if _out_of_memory(error):
            raise
        return None, _first_line(error)


def _first_line(error: Exception) -> str:
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return line if len(line) <= _LONGEST_REASON else f"{line[:_LONGEST_REASON]}..."


def _out_of_memory(error: Exception) -> bool:
    return (
        isinstance(error, MemoryError)
        or "RESOURCE_EXHAUSTED" in str(error)
        and isinstance(error, jax.errors.JaxRuntimeError)
    )


def _is_key(leaf: Any) -> bool:
    return jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _key_of(numbers: jax.Array, like: Any) -> jax.Array:
    """Return the random key of these numbers, of the kind of ``like``, which may be abstract."""
    return jax.random.wrap_key_data(numbers, impl=jax.random.key_impl(jax.numpy.empty((), like.dtype)))


def _without_keys(tree: Any) -> Any:
    """Return the tree with random keys as plain numbers, which can be stored."""
    return jax.tree.map(lambda leaf: jax.random.key_data(leaf) if _is_key(leaf) else leaf, tree)
