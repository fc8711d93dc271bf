"""Weights that are finite numbers: a run that diverged, or a conversion to float16 that overflowed, leaves others."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from .errors import CheckpointError
from .paths import leaves_by_path

_EXPONENT = {"bfloat16": np.uint16(0x7F80), "float16": np.uint16(0x7C00)}
_PIECE = 2**22  # numbers looked at together
_SHOWN = 3  # parameters that a message names
_known: dict[int, weakref.ref] = {}  # arrays that were found finite, by id


def check_finite(network: Any, where: object) -> None:
    """Raise CheckpointError, one line, if a parameter of ``network`` holds NaN or an infinity.

    where: the file or folder that the parameters come from, for the message.  Integers and abstract leaves pass, and so
    do arrays that were checked before.  Each process checks the shards that it holds.
    """
    leaves = {path: leaf for path, leaf in leaves_by_path(network).items() if _is_new(leaf)}
    if not leaves:
        return
    for leaf, good in zip(leaves.values(), _all_finite(list(leaves.values())), strict=True):
        if good:
            _remember(leaf)
    bad = [path for path, leaf in leaves.items() if id(leaf) not in _known]
    if bad:
        more = f" and {len(bad) - _SHOWN} more parameters" if len(bad) > _SHOWN else ""
        wrong = sum(int((~np.isfinite(part.astype(np.float32))).sum()) for part in _here(leaves[bad[0]]))
        raise CheckpointError(
            f"{where}: {', '.join(bad[:_SHOWN])}{more} hold NaN or infinity ({wrong} of the numbers of the first), "
            "so nothing right can be drawn; take a checkpoint from before training diverged, or one that is not "
            "rounded to float16"
        )


def _is_new(leaf: Any) -> bool:
    if isinstance(leaf, jax.ShapeDtypeStruct | Tracer) or not hasattr(leaf, "dtype"):
        return False
    known = _known.get(id(leaf))
    return jnp.issubdtype(leaf.dtype, jnp.floating) and (known is None or known() is not leaf)


def _remember(leaf: Any) -> None:
    number = id(leaf)
    _known[number] = weakref.ref(leaf, lambda _: _known.pop(number, None))


def _all_finite(leaves: list[Any]) -> list[bool]:
    """Return for each array whether this process sees only finite numbers in it."""
    on_device = [leaf for leaf in leaves if isinstance(leaf, jax.Array) and leaf.is_fully_addressable]
    if on_device and jax.default_backend() != "cpu":
        found = iter(np.asarray(_finite_on_device(on_device)))
        return [bool(next(found)) if any(leaf is one for one in on_device) else _finite_here(leaf) for leaf in leaves]
    return [_finite_here(leaf) for leaf in leaves]


@jax.jit
def _finite_on_device(leaves: list[jax.Array]) -> jax.Array:
    return jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in leaves])


def _finite_here(leaf: Any) -> bool:
    return all(_is_finite(part) for part in _here(leaf))


def _is_finite(array: np.ndarray) -> bool:
    """Return whether all numbers are finite; quickly, as an array of billions is loaded."""
    if exponent := _EXPONENT.get(array.dtype.name):  # of 16 bits: all of the exponent's bits are set
        return not any(np.any((part & exponent) == exponent) for part in _pieces(array.view(np.uint16)))
    with np.errstate(all="ignore"):
        # The sum of finite weights is finite, unless they are huge.
        return all(np.isfinite(part.sum()) or bool(np.isfinite(part).all()) for part in _pieces(array))


def _pieces(array: np.ndarray) -> Iterator[np.ndarray]:
    flat = array.reshape(-1)
    return (flat[first : first + _PIECE] for first in range(0, flat.size, _PIECE))


def _here(leaf: Any) -> list[np.ndarray]:
    """Return the parts of an array that this process holds."""
    parts = [shard.data for shard in leaf.addressable_shards] if isinstance(leaf, jax.Array) else [leaf]
    return [np.asarray(part) for part in parts]
