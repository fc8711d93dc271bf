"""The two tables between all codes of a codebook and the K that the diffusion sees.

Released models keep only the codes that occur in their training pictures (2887 of 8192, 974 of 16384).  Reduced code 0
is a catch-all: it stands for full code 0 and for every dropped code, so that a dropped code decodes as full code 0.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class CodebookReduction(NamedTuple):
    """Host tables: ``reduced = full_to_reduced[full]`` and ``full = reduced_to_full[reduced]``."""

    full_to_reduced: np.ndarray  # (codebook_size,) int32
    reduced_to_full: np.ndarray  # (K,) int32


def reduction_from_full(
    full_to_reduced, *, codebook_size: int | None = None, num_codes: int | None = None
) -> CodebookReduction:
    """Return both tables from the one that files hold.

    Each reduced code decodes as the smallest full code that maps to it.

    Args:
      full_to_reduced: (codebook_size,) integers that cover 0..K-1.
      codebook_size, num_codes: sizes that the table must have, if they are known.

    Raises:
      ValueError: no such table, or one of other sizes.
    """
    table = np.asarray(full_to_reduced)
    if table.ndim != 1 or not table.size or not np.issubdtype(table.dtype, np.integer):
        raise ValueError(
            f"a codebook reduction is one row of integers, one a code; got {table.dtype} of shape {table.shape}"
        )
    if codebook_size is not None and table.size != codebook_size:
        raise ValueError(
            f"the codebook reduction has {table.size} entries but the codebook {codebook_size}; "
            "use the file made for it"
        )
    if table.min() < 0:
        raise ValueError(
            f"the codebook reduction maps full code {table.argmin()} to {table.min()}; reduced codes start at 0"
        )
    reduced, first = np.unique(table, return_index=True)
    if reduced[-1] != reduced.size - 1:
        gap = int(np.flatnonzero(reduced != np.arange(reduced.size))[0])
        raise ValueError(
            f"the codebook reduction goes up to {reduced[-1]} but nothing maps to {gap}; its values must cover 0..K-1"
        )
    if num_codes is not None and reduced.size != num_codes:
        raise ValueError(
            f"the codebook reduction keeps {reduced.size} codes but the model expects {num_codes}; "
            "use the file made for it"
        )
    return CodebookReduction(table.astype(np.int32), first.astype(np.int32))


def first_codes_kept(codebook_size: int, num_codes: int) -> CodebookReduction:
    """Return the reduction of a model without a file: codes below ``num_codes`` keep their number, others become 0."""
    full = np.arange(codebook_size)
    return reduction_from_full(np.where(full < num_codes, full, 0))
