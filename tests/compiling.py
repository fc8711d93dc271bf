"""How tests compile: quickly, as most programs run once on tiny shapes (conftest); what is compared with recordings, as users do."""

from __future__ import annotations

from contextlib import contextmanager


def with_devices(count: int, more: str = "") -> str:
    """XLA_FLAGS of a process that sees ``count`` CPU devices."""
    return f"--xla_force_host_platform_device_count={count} {more}".strip()


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
