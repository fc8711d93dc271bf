"""Distances to the nearest of many features, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

ROWS = 1024  # of distances in memory at a time


def squared_distances(a: np.ndarray, b: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """(first row, squared distances of the next rows of ``a`` to all of ``b``), chunk by chunk; float64 in and out."""
    # About a common centre the squares are small, and their difference keeps its digits.
    centre = b.mean(axis=0)
    a, b = a - centre, b - centre
    lengths = np.square(b).sum(axis=1)
    for first in range(0, len(a), ROWS):
        rows = a[first : first + ROWS]
        found = np.square(rows).sum(axis=1)[:, None] + lengths - 2.0 * (rows @ b.T)
        yield first, np.maximum(found, 0.0)


def nearest(a: np.ndarray, b: np.ndarray, k: int) -> np.ndarray:
    """(rows of a, k) squared distances of every row of ``a`` to its k nearest rows of ``b``, ascending."""
    return np.concatenate(
        [np.sort(np.partition(rows, k - 1, axis=1)[:, :k], axis=1) for _, rows in squared_distances(a, b)]
    )


def nearest_others(a: np.ndarray, k: int) -> np.ndarray:
    """(rows, k) squared distances of every row of ``a`` to its k nearest other rows, ascending."""
    found = []
    for first, rows in squared_distances(a, a):
        rows[np.arange(len(rows)), first + np.arange(len(rows))] = np.inf
        found.append(np.sort(np.partition(rows, k - 1, axis=1)[:, :k], axis=1))
    return np.concatenate(found)
