"""Elements of a random-access sequence in order, prepared ahead of time by grain's threads and worker processes."""

from __future__ import annotations

import signal
from typing import Any, Protocol

from .extras import needed


class RandomAccess(Protocol):
    """Elements by number, from 0."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


def read_ahead(elements: RandomAccess, *, start: int = 0, threads: int, ahead: int, workers: int):
    """Return grain's iterator over ``elements`` from ``start`` on; its ``close()`` ends threads and processes.

    Args:
      threads, ahead: threads, and elements prepared in advance, in each process.
      workers: worker processes; 0: this process alone.
    """
    from absl import flags

    grain = needed("grain", "reading a data set")
    if workers and not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()  # grain reads a flag of its own; without a command line its default holds
    dataset = grain.MapDataset.source(elements)[start:]
    dataset = dataset.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=max(ahead, threads)))
    if workers:
        dataset = dataset.mp_prefetch(
            grain.MultiprocessingOptions(num_workers=workers), worker_init_fn=_leave_interrupts_to_the_parent
        )
    return iter(dataset)


def _leave_interrupts_to_the_parent(worker: int, workers: int) -> None:
    """Make a worker ignore Ctrl-C, which a terminal sends to it too.

    Training needs batches until its step is finished, and ends its workers itself.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
