"""The protocols between the loop and the rest: what it trains, and where its batches come from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np

from .batch import Batch, HostBatch
from .config import RunConfig


class Task(Protocol):
    """One kind of training, such as a denoiser's or a codec's, made for ``mesh``, on which all its arrays lie."""

    config: RunConfig
    mesh: jax.sharding.Mesh
    flops_per_sample: float  # of one sample's forward and backward pass; 0 if unknown
    score: str  # which of ``validate``'s numbers chooses the best checkpoint, lower being better
    report: tuple[str, ...]  # lines that say where the first state came from
    networks: Mapping[str, str]  # fingerprints of the networks that run inside the step untrained, by name

    def abstract_state(self) -> Any:
        """Return the state, a pytree with a () int32 leaf ``step``, as ShapeDtypeStructs with shardings."""
        ...

    def first_state(self) -> Any:
        """Return the state before the first step, initialised on its devices."""
        ...

    def check_batch(self, batch: HostBatch) -> None:
        """Raise ConfigError, one line, unless the task can train on the batch."""
        ...

    def step(self, state: Any, batch: Batch) -> tuple[Any, Mapping[str, jax.Array]]:
        """Return the state after one step and its metrics, scalars, with ``loss`` and ``grad_norm`` among them.

        ``state`` is given away.  A record has the metrics' means over the steps since the last one, but of
        ``learning_rate`` the last step's.
        """
        ...

    def record(self, state: Any) -> dict[str, Any]:
        """Return what else belongs into a record: numbers, or lists of them."""
        ...

    def validate(self, state: Any, batches: Iterable[Batch]) -> dict[str, float]:
        """Return numbers measured on held-out batches; the state is only read."""
        ...

    def pictures(self, state: Any) -> np.ndarray | str:
        """Return a picture (height, width, 3) uint8 of what has been learned, or a sentence why there is none."""
        ...

    def export(self, state: Any, folder: Path) -> list[str]:
        """Write what people use afterwards below ``folder`` and return lines that say what was written."""
        ...


class BatchIterator(Protocol):
    """Batches of this process, without end; its position is saved with the state.

    One that is also ``Closeable`` is closed when the run ends.
    """

    def __iter__(self) -> BatchIterator: ...

    def __next__(self) -> HostBatch: ...

    def get_state(self) -> dict[str, Any]:
        """Return the position as plain JSON."""
        ...

    def set_state(self, state: dict[str, Any]) -> None:
        """Go to a position that ``get_state`` gave.  Raises DataError for one of other data."""
        ...


class Loader(Protocol):
    """A data set in batches; every ``iter()`` starts anew."""

    def __iter__(self) -> BatchIterator: ...


@runtime_checkable
class Closeable(Protocol):
    """Something that holds processes or files until it is closed."""

    def close(self) -> None: ...
