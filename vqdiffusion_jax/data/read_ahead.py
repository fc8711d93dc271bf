"""Elements of a random-access sequence in order, prepared ahead of time by threads and worker processes (grain)."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import Any

from .extras import needed


def read_ahead(elements: Sequence[Any], *, start: int = 0, threads: int, ahead: int, workers: int):
    """Grain's iterator over ``elements[start]``, ``elements[start + 1]``, ...; its ``close()`` ends threads and processes.

    Args:
      threads, ahead: threads, and elements prepared before they are asked for, in each process.
      workers: processes; 0: this one.
    """
    from absl import flags

    grain = needed("grain", "reading a data set")
    if workers and not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()  # grain asks for a flag of its own; where nobody parses flags, its default is meant
    dataset = grain.MapDataset.source(elements)[start:]
    dataset = dataset.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=max(ahead, threads)))
    if workers:
        dataset = dataset.mp_prefetch(
            grain.MultiprocessingOptions(num_workers=workers), worker_init_fn=_leave_interrupts_to_the_parent
        )
    return iter(dataset)


def _leave_interrupts_to_the_parent(worker: int, workers: int) -> None:
    """A terminal sends Ctrl-C to workers too, but training still needs its batches to end in order; who reads ends its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
