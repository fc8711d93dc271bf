"""Jitted functions whose compiled programs are bounded in number; the least recently used ones are dropped.

``jax.jit`` keeps every program that it has compiled.  On a CPU a sampling program takes some 430 memory maps of the
process, and a process that runs out of maps (``vm.max_map_count``, 65,530 by default on Linux) is aborted.
"""

from __future__ import annotations

import functools
import gc
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import jax
from flax import nnx

MOST_PROGRAMS = 64  # some 40 MB each for the embedded model
_KEPT_SHARE = 0.75  # of the programs, when some are dropped: a collection of garbage frees several at once
_MOST_MAPS_SHARE = 0.5  # of the maps that the process may have; a program being compiled needs some hundreds
_SPARE_SHARE = 0.1  # of them, for programs, where others hold more than that
_SECONDS_BETWEEN_COUNTS = 10.0  # counting 30,000 maps takes some 20 ms


class Programs:
    """The compiled programs of all ``BoundedJit`` functions, the least recently used first.

    most: their largest number.
    """

    def __init__(self, most: int = MOST_PROGRAMS):
        self.most = most
        self._jitted: OrderedDict[Hashable, Any] = OrderedDict()  # each with the programs of one signature
        self._lock = threading.RLock()
        self._counted = 0.0
        self._foreign = 0  # maps that were left when all programs had been dropped

    def __len__(self) -> int:
        return len(self._jitted)

    def jitted(self, signature: Hashable, make: Callable[[], Any]) -> Any:
        """Return the jitted function of ``signature``, which ``make`` makes if there is none, and mark it as used."""
        with self._lock:
            found = self._jitted.get(signature)
            if found is None:
                self.drop_excess(room=1)
                found = self._jitted[signature] = make()
            elif time.monotonic() - self._counted > _SECONDS_BETWEEN_COUNTS:
                self.drop_excess()  # other code takes maps too
            # Marked after the dropping, which then never takes the program that is about to run.
            self._jitted[signature] = found
            self._jitted.move_to_end(signature)
            return found

    def drop_excess(self, room: int = 0) -> None:
        """Drop programs until ``room`` more fit into their number and the process has maps to spare."""
        with self._lock:
            if len(self) + room > self.most:
                self.drop(len(self) + room - int(_KEPT_SHARE * self.most))
            self._counted = time.monotonic()
            # Where others hold many maps for good, their number is no reason to drop programs again and again.
            allowed = max(_MOST_MAPS_SHARE * max_maps(), self._foreign + _SPARE_SHARE * max_maps())
            while len(self) and count_maps() > allowed:
                self.drop(-(-len(self) // 2))
            if count_maps() > allowed:
                # The maps belong to functions of JAX's own or of the caller, which compile again when they are called.
                jax.clear_caches()
                gc.collect()
                self._foreign = count_maps()

    def drop(self, count: int) -> None:
        """Drop the ``count`` programs that were used longest ago.  One that is running ends first."""
        with self._lock:
            for _ in range(min(count, len(self))):
                _, jitted = self._jitted.popitem(last=False)
                jitted.clear_cache()
                del jitted
        gc.collect()  # an executable's references are circular


PROGRAMS = Programs()


class BoundedJit:
    """``jax.jit(function, static_argnames=...)`` with its programs in ``PROGRAMS``; static arguments go by keyword."""

    def __init__(self, function: Callable[..., Any], static_argnames: tuple[str, ...] = ()):
        functools.update_wrapper(self, function)
        self._function, self._static_argnames = function, static_argnames

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        static = {name: named[name] for name in self._static_argnames if name in named}
        data = {name: value for name, value in named.items() if name not in static}
        signature = (self._function, tuple(static.items()), *_shapes((arguments, data)))
        return PROGRAMS.jitted(signature, self._jit)(*arguments, **named)

    def _jit(self) -> Any:
        # Of a function of its own, since JAX shares programs among all jitted forms of one function.
        @functools.wraps(self._function)
        def function(*arguments, **named):
            return self._function(*arguments, **named)

        return jax.jit(function, static_argnames=self._static_argnames)

    def trace(self, *arguments: Any, **named: Any) -> Any:
        """Return ``jax.jit(function).trace(...)``; its program is the caller's to keep."""
        return self._jit().trace(*arguments, **named)

    def lower(self, *arguments: Any, **named: Any) -> Any:
        """Return ``jax.jit(function).lower(...)``; its program is the caller's to keep."""
        return self._jit().lower(*arguments, **named)


def bounded_jit(function: Callable[..., Any], static_argnames: tuple[str, ...] = ()) -> BoundedJit:
    """Return ``jax.jit(function, static_argnames=static_argnames)`` with a bounded number of programs."""
    return BoundedJit(function, static_argnames)


def _shapes(arguments: Any) -> tuple[Hashable, Hashable]:
    """Return the structure of a pytree, and the shape and type of each leaf, which programs depend on.

    A network counts by its class and its configuration's identity: ``jax.jit`` looks through it once a call, which
    takes as long as a small network's step.
    """
    leaves, structure = jax.tree.flatten(arguments, is_leaf=lambda node: isinstance(node, nnx.Module))
    return structure, tuple(
        (type(leaf), id(getattr(leaf, "config", None)))
        if isinstance(leaf, nnx.Module)
        else (getattr(leaf, "shape", ()), getattr(leaf, "dtype", type(leaf)))
        for leaf in leaves
    )


def padded_length(count: int, least: int = 1) -> int:
    """Return the power of two, at least ``least``, to which ``count`` rows are filled up, so that few are compiled."""
    return max(least, 1 << max(count - 1, 0).bit_length())


def count_maps() -> int:
    """Return the number of memory maps of this process, 0 where the system does not tell."""
    try:
        with open("/proc/self/maps", "rb") as lines:
            return sum(1 for _ in lines)
    except OSError:
        return 0


@functools.cache
def max_maps() -> int:
    """Return the largest number of memory maps that a process may have: Linux's default where it does not tell."""
    try:
        return int(Path("/proc/sys/vm/max_map_count").read_text())
    except (OSError, ValueError):
        return 65530
