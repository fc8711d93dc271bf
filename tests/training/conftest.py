"""Compiled programs are shared between the tests and the processes they start: most of their time is compilation."""

import jax
import pytest


@pytest.fixture(scope="session")
def compilation_cache(tmp_path_factory):
    folder = tmp_path_factory.getbasetemp() / "compiled"
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    yield folder
    jax.config.update("jax_compilation_cache_dir", before)
