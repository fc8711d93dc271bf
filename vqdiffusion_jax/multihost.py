"""Agreement between the processes of a run.

All processes call every function; one that is alone agrees with itself.  JAX's helpers are imported when they are
needed: they are experimental, and a process that is alone needs none.
"""

from __future__ import annotations

import jax
import numpy as np

_BYTES = 400  # of a text; all processes must send as many


def barrier(name: str) -> None:
    """Return once every process has come to the barrier of this name."""
    if jax.process_count() > 1:
        from jax.experimental.multihost_utils import sync_global_devices

        sync_global_devices(name)


def all_gather(array: np.ndarray) -> np.ndarray:
    """Return all processes' arrays, of one shape, stacked in their order: (process_count, *array.shape)."""
    if jax.process_count() == 1:
        return np.asarray(array)[None]
    from jax.experimental.multihost_utils import process_allgather

    return np.asarray(process_allgather(array))


def all_gather_text(text: str) -> list[str]:
    """Return the ``text`` of every process, in their order, each cut to 400 bytes."""
    if jax.process_count() == 1:
        return [text]
    sent = np.frombuffer(text.encode()[:_BYTES].ljust(_BYTES), np.uint8)
    return [row.tobytes().decode(errors="ignore").rstrip() for row in all_gather(sent)]


def broadcast_from_first(numbers: list[int]) -> list[int]:
    """Return the ``numbers`` of process 0."""
    if jax.process_count() == 1:
        return numbers
    from jax.experimental.multihost_utils import broadcast_one_to_all

    count = int(broadcast_one_to_all(np.int32(len(numbers))))
    return broadcast_one_to_all(np.resize(np.array(numbers, np.int32), count)).tolist() if count else []


def preempted(step: int) -> bool:
    """Return whether some process got SIGTERM, so that all are to stop after ``step``; all get the same answer.

    For several processes that ``jax.distributed`` has joined; JAX itself listens to SIGTERM there.
    """
    from jax.experimental.multihost_utils import reached_preemption_sync_point

    return reached_preemption_sync_point(step)
