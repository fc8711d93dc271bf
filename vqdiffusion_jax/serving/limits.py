"""Upper bounds of what a client of the API may ask for, and how its pictures are drawn together."""

from __future__ import annotations

from dataclasses import dataclass

from ..web.limits import Bounds


@dataclass(frozen=True, kw_only=True)
class Limits(Bounds):
    """Upper bounds, each included.

    max_batch: pictures drawn together; a batch of fewer is filled up, so that a picture's bits do not depend on it.
    max_wait: seconds that a picture waits for others before a batch that is not full is drawn.
    """

    max_batch: int = 1
    max_wait: float = 0.02
    pictures: int = 8  # of a request
    waiting: int = 64  # pictures of all requests, before the next is told to come again
    items: int = 1_024  # of a list
    kept: int = 256  # pictures, for response_format="url"
    kept_bytes: int = 2**26
    kept_seconds: float = 3_600.0

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """The sizes of batches that a request may name: powers of two, and the largest."""
        powers = (1 << k for k in range(self.max_batch.bit_length()))
        return tuple(sorted({*powers, self.max_batch}))
