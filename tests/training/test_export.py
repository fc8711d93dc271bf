"""The exported model: replaced by a whole one, or left as it was."""

import json
import os
import shutil

import numpy as np
import pytest

from tests.networks import random_network
from vqdiffusion_jax import model_folder, preset
from vqdiffusion_jax.errors import CheckpointError
from vqdiffusion_jax.loading import load_codec
from vqdiffusion_jax.models.components import CodecComponent
from vqdiffusion_jax.training.export import export

FULL = OSError(28, "No space left on device")


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def codecs():
    return [random_network(CodecComponent, preset("tiny_class").codec, seed=seed) for seed in (0, 1)]


@pytest.fixture
def exported(codecs, tmp_path):
    """A folder that an earlier end of the run wrote its model to."""
    assert export(tmp_path, codecs[0], None, 10) == [f"written: {tmp_path / 'model'}"]
    return tmp_path


def test_a_new_export_replaces_the_old_one(codecs, exported):
    (exported / "model" / "notes.txt").write_text("of the old one")
    export(exported, codecs[1], None, 20)
    assert [path.name for path in exported.iterdir()] == ["model"]
    readme = (exported / "model" / "README.md").read_text()
    assert (
        'load_codec("model")' in readme
        and "Trained for 20 steps." in readme
        and not (exported / "model" / "notes.txt").exists()
    )
    assert json.loads((exported / "model" / "config.json").read_text())["kind"] == "codec"
    found, wanted = (part.decoder.conv_in.kernel[...] for part in (load_codec(exported / "model"), codecs[1].codec))
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("trouble, raised", [(FULL, CheckpointError), (KeyboardInterrupt(), KeyboardInterrupt)])
def test_an_export_that_fails_leaves_the_old_one(codecs, exported, monkeypatch, trouble, raised):
    before = contents(exported)

    def half(folder, tree):
        folder.mkdir()
        (folder / "half").write_bytes(b"x")
        raise trouble

    monkeypatch.setattr(model_folder, "save_weights", half)
    with pytest.raises(raised):
        export(exported, codecs[1], None, 20)
    assert contents(exported) == before and [path.name for path in exported.iterdir()] == ["model"]


def full(folder, tree):
    raise FULL


@pytest.mark.parametrize("killed_at", [1, 2, 3])
def test_an_export_that_is_killed_while_names_change_loses_nothing(codecs, exported, monkeypatch, killed_at):
    """The files on disk when the process ends at the first, second or third renaming."""
    taken = exported.parent / "taken"
    before, calls = contents(exported / "model"), []

    def replace(path, to):
        calls.append(path)
        if len(calls) == killed_at:
            shutil.copytree(exported, taken)
        os.replace(path, to)

    monkeypatch.setattr(type(exported), "replace", replace)
    export(exported, codecs[1], None, 20)
    monkeypatch.undo()
    assert len(calls) == 3
    shutil.rmtree(exported)
    taken.rename(exported)

    monkeypatch.setattr(model_folder, "save_weights", full)
    with pytest.raises(CheckpointError):
        export(exported, codecs[1], None, 20)
    assert contents(exported / "model") == before and [path.name for path in exported.iterdir()] == ["model"]
    monkeypatch.undo()
    export(exported, codecs[1], None, 20)
    assert contents(exported / "model") != before and [path.name for path in exported.iterdir()] == ["model"]
