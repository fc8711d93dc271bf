"""Compilation in tests: quick by default (see conftest.py), and optimised for comparisons with recordings."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from unittest import mock

# XLA's newer way to make CPU code of fused operations takes two to three times as long to compile as its older one,
# which jaxlib 0.11 has no more.  XLA ends the process at a flag that it does not know.
_EMITTERS = "xla_cpu_use_fusion_emitters"
HAS_OLDER_EMITTERS = tuple(map(int, version("jaxlib").split(".")[:2])) < (0, 11)
# Splitting a program among threads that compile costs a third more in all, and makes the same code.
QUICK_TO_COMPILE = f"{f'--{_EMITTERS}=false ' if HAS_OLDER_EMITTERS else ''}--xla_cpu_parallel_codegen_split_count=1"


@contextmanager
def shared_contexts():
    """Lower meanwhile in one MLIR context a thread: loading its dialects is a fifth of what a small program costs."""
    from jax._src.interpreters import mlir

    make, mine = mlir.make_ir_context, threading.local()

    def context():
        if not hasattr(mine, "context"):
            mine.context = make()
        return mine.context

    with mock.patch.object(mlir, "make_ir_context", context):
        yield


@contextmanager
def listed_compilations() -> Iterator[list[str]]:
    """Give a list that grows meanwhile with every program that XLA compiles or reads from disk."""
    import jax

    seen = []

    def listen(event, *_, **__):
        if event == "/jax/core/compile/backend_compile_duration":
            seen.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield seen
    finally:  # this one alone: others listen too
        jax.monitoring.unregister_event_duration_listener(listen)


@contextmanager
def optimised():
    """Compile meanwhile with all optimisations: it costs more, and pays where a program runs for long."""
    import jax

    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", before)


@contextmanager
def as_users_compile():
    """Compile meanwhile with all optimisations and XLA's own defaults.

    XLA reads its flags once, so that a program is compiled otherwise only by options of its own, and JAX takes these
    with each ``jit`` alone: hence the way through its internals.
    """
    from jax._src import compiler

    make = compiler.get_compile_options

    def with_defaults(*arguments, env_options_overrides=None, **others):
        options = ({_EMITTERS: True} if HAS_OLDER_EMITTERS else {}) | (env_options_overrides or {})
        return make(*arguments, env_options_overrides=options, **others)

    with optimised(), mock.patch.object(compiler, "get_compile_options", with_defaults):
        yield
