"""Compiled programs are shared between the tests and the processes they start: most of their time is compilation."""

from pathlib import Path

import jax
import pytest


@pytest.fixture(scope="session")
def compilation_cache(tmp_path_factory):
    """The folder that the test run keeps compiled programs in."""
    before = jax.config.jax_compilation_cache_dir
    folder = Path(before) if before else tmp_path_factory.getbasetemp() / "compiled"
    jax.config.update("jax_compilation_cache_dir", str(folder))
    yield folder
    jax.config.update("jax_compilation_cache_dir", before)
