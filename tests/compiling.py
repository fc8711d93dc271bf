"""How tests compile: quickly, as most programs run once on tiny shapes (conftest); what is compared with recordings, as users do."""

from __future__ import annotations

from contextlib import contextmanager


@contextmanager
def as_users_compile():
    """What is compiled meanwhile is optimised."""
    import jax

    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", before)
