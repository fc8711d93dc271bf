"""Compiled programs, kept between runs: a command that has run once starts in seconds."""

from __future__ import annotations

import os
from pathlib import Path

_LEAST_SECONDS = 0.2  # of compilation, for a program to be kept; JAX's own default leaves out most of a small model's


def keep_compiled() -> None:
    """Use the folder that JAX is told to (JAX_COMPILATION_CACHE_DIR), else ~/.cache/vqdiffusion_jax/compiled."""
    import jax

    if jax.config.jax_compilation_cache_dir is not None:
        return
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    jax.config.update("jax_compilation_cache_dir", str(caches / "vqdiffusion_jax" / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", _LEAST_SECONDS)
