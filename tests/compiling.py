"""Compilation in tests: quick by default (see conftest.py), and optimised for comparisons with recordings."""

from __future__ import annotations

from contextlib import contextmanager


@contextmanager
def as_users_compile():
    """Optimise the programs that are compiled meanwhile."""
    import jax

    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", before)
