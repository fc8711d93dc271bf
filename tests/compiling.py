"""How tests compile: quickly, as most programs run once on tiny shapes; what is compared with recordings, as users compile it."""

from __future__ import annotations

import os
from contextlib import contextmanager
from importlib.metadata import version
from unittest import mock

# Code for fusions from XLA's older generator: it takes a third less to compile a training step.  An unknown flag ends a process.
_EMITTERS = "xla_cpu_use_fusion_emitters"
_KNOWN = version("jaxlib").startswith("0.10.")


def set_environment() -> None:
    """For this process, if JAX has not started in it, and for those that tests start."""
    os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    flag, before = f"--{_EMITTERS}=false", os.environ.get("XLA_FLAGS", "")
    if _KNOWN and _EMITTERS not in before:
        os.environ["XLA_FLAGS"] = f"{before} {flag}".strip()


def with_devices(count: int, more: str = "") -> str:
    """XLA_FLAGS of a process that sees ``count`` CPU devices and compiles as this one does."""
    return f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={count} {more}".strip()


@contextmanager
def as_users_compile():
    """What is compiled meanwhile has XLA's own settings."""
    import jax
    from jax._src import compiler

    options, before = compiler.get_compile_options, jax.config.read("jax_disable_most_optimizations")

    def without_ours(*args, **kwargs):
        overrides = {**(kwargs.pop("env_options_overrides", None) or {}), _EMITTERS: True}
        return options(*args, **kwargs, env_options_overrides=overrides)

    jax.config.update("jax_disable_most_optimizations", False)
    try:
        with mock.patch.object(compiler, "get_compile_options", without_ours if _KNOWN else options):
            yield
    finally:
        jax.config.update("jax_disable_most_optimizations", before)
