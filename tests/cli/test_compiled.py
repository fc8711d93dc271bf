"""Compiled programs are kept in a folder of the user, and a command does without where they cannot be."""

from pathlib import Path

import jax
import pytest

from vqdiffusion_jax.cli.compiled import keep_compiled


@pytest.fixture
def kept_in(monkeypatch):
    """Return where programs are kept after ``keep_compiled``, from no setting at all."""
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in names}
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def kept() -> str | None:
        jax.config.update("jax_compilation_cache_dir", None)
        keep_compiled()
        return jax.config.jax_compilation_cache_dir

    yield kept
    for name, value in before.items():
        jax.config.update(name, value)


def test_in_the_home(kept_in, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / ".cache" / "vqdiffusion_jax" / "compiled"
    assert kept_in() == str(folder) and folder.is_dir()


def test_a_home_that_cannot_be_written(kept_in, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    assert kept_in() is None


def test_a_home_of_somebody_else(kept_in, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert kept_in() is None


def test_no_home(kept_in, monkeypatch):
    def nowhere():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nowhere)
    assert kept_in() is None
