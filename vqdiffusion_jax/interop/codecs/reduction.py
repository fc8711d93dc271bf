"""Tables of the codes that a model keeps, in the reference's files and as tensors of a conversion."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...errors import CheckpointError
from ...lazy_tensor import LazyTensor
from ...models.codebook_reduction import CodebookReduction, reduction_from_full
from ...storage.copies import here
from ...user_arrays import read_npy
from ..engine import Rule, key
from ..files.torch_zip import open_checkpoint

REDUCTION_FILES = {2887: "taming_vqvae_2887.pt", 974: "taming_vqvae_974.pt"}
_PREFIX = "codebook reduction: "  # begins the keys of the two tables


def read_reduction(
    path: str | Path, *, codebook_size: int | None = None, num_codes: int | None = None
) -> CodebookReduction:
    """Read the codes that a model keeps.

    Args:
        path: a file like taming_vqvae_2887.pt (one int64 tensor, full code -> reduced code), or the same as .npy.
        codebook_size, num_codes: sizes that the table must have, where known.

    Raises:
        CheckpointError: if the file cannot be read, is no such table or has other sizes.
    """
    path = here(path)
    tensor = _read_npy(path) if path.suffix == ".npy" else open_checkpoint(path)
    if not isinstance(tensor, LazyTensor | np.ndarray):
        raise CheckpointError(
            f"{path} is not a codebook reduction; give a file of one integer tensor such as {REDUCTION_FILES[2887]}"
        )
    try:
        return reduction_from_full(np.asarray(tensor), codebook_size=codebook_size, num_codes=num_codes)
    except CheckpointError:
        raise
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from None


def reduction_tensors(reduction: CodebookReduction) -> dict[str, np.ndarray]:
    """Return both tables under the keys of ``reduction_rules``."""
    return {_PREFIX + name: table for name, table in reduction._asdict().items()}


def reduction_rules(ours: str = "") -> list[Rule]:
    """Return the rules of both tables; our paths begin with ``ours``."""
    return [Rule(key(_PREFIX + name), ours + name) for name in CodebookReduction._fields]


def _read_npy(path: str | Path) -> np.ndarray:
    try:
        return read_npy(path)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise CheckpointError(f"{error}; give the table as numpy saved it") from None
