"""A folder of compiled programs: a command that has run once starts in seconds."""

from __future__ import annotations

import os
from pathlib import Path

# Programs that compile faster are not kept.  JAX's own default of a second leaves out most of a small model's.
_LEAST_SECONDS = 0.2


def keep_compiled() -> None:
    """Make JAX keep compiled programs in JAX_COMPILATION_CACHE_DIR, else in ~/.cache/vqdiffusion_jax/compiled.

    Where neither is given nor can be written to, none are kept.
    """
    import jax

    kept_in = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]  JAX makes it at run time
    if kept_in is not None:
        return
    try:
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # a user without a home
        return
    folder = caches / "vqdiffusion_jax" / "compiled"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:  # a home that is not there, or not the user's
        return
    if not os.access(folder, os.W_OK):
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", _LEAST_SECONDS)
