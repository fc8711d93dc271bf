"""Weights that are damaged, do not fit on the disk, or have been rounded."""

import json
import os
import shutil
import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.networks import random_network
from tests.told import own
from vqdiffusion_jax import VQDiffusionPipeline, checkpoint, preset
from vqdiffusion_jax.checkpoint import failing_as_checkpoint_error
from vqdiffusion_jax.config import ComputeConfig
from vqdiffusion_jax.errors import CheckpointError
from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel
from vqdiffusion_jax.paths import path_of
from vqdiffusion_jax.safetensors_weights import FILE, load_safetensors
from vqdiffusion_jax.sharding import make_mesh


def pipeline(**compute) -> VQDiffusionPipeline:
    return VQDiffusionPipeline(random_network(VQDiffusionModel, preset("tiny_unconditional"), ComputeConfig(**compute)))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "model"
    pipeline().save_pretrained(folder)
    return folder


def cut(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def pipe(file):
    file.unlink()
    os.mkfifo(file)


def endless(file):
    file.unlink()
    file.symlink_to("/dev/zero")


@pytest.mark.parametrize(
    ("files", "damage"),
    [
        ("**/d/*", cut),
        ("**/_METADATA", cut),
        ("**/_METADATA", lambda file: file.write_bytes(b"null")),
        ("**/_METADATA", lambda file: file.unlink()),
        ("_CHECKPOINT_METADATA", lambda file: file.write_bytes(b"[1]")),
        ("**/manifest.ocdbt", lambda file: file.write_bytes(b"")),
        ("**/manifest.ocdbt", pipe),
        ("**/d/*", endless),
    ],
)
def test_damaged_weights(whole, tmp_path, files, damage):
    shutil.copytree(whole, tmp_path / "model")
    damaged = list((tmp_path / "model" / "weights").glob(files))
    assert damaged
    for file in damaged:
        damage(file)
    with pytest.raises(CheckpointError, match="damaged|holds no weights|a named pipe|a device") as error:
        VQDiffusionPipeline.from_pretrained(tmp_path / "model")
    assert "\n" not in str(error.value)


def test_data_that_breaks_off_below_a_good_description(whole, monkeypatch):
    def load(*_):
        raise Exception("OUT_OF_RANGE: the file ends\nsource location: somewhere")

    monkeypatch.setattr(checkpoint._orbax(), "load", load)
    with pytest.raises(CheckpointError, match="cannot be read.*: OUT_OF_RANGE: the file ends$"):
        VQDiffusionPipeline.from_pretrained(whole)


def test_a_full_disk(tmp_path, monkeypatch):
    def save(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint._orbax(), "save", save)
    with pytest.raises(CheckpointError, match=r"model cannot be written: \[Errno 28\] No space left on device$"):
        pipeline().save_pretrained(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_running_out_of_memory_is_not_a_damaged_file():
    for error in (MemoryError(), jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")):
        with pytest.raises(type(error)), failing_as_checkpoint_error("anything"):
            raise error


def test_rounded_weights_say_so(tmp_path):
    with pytest.warns(UserWarning, match="rounded") as given:
        pipeline(dtype="bfloat16", param_dtype="bfloat16").save_pretrained(tmp_path / "half")
    (rounded,) = own(given)
    assert "\n" not in str(rounded.message)
    assert json.loads((tmp_path / "half" / "config.json").read_text())["rounded_to"] == "bfloat16"
    assert "rounded to bfloat16" in (tmp_path / "half" / "README.md").read_text()
    again = VQDiffusionPipeline.from_pretrained(tmp_path / "half", compute=ComputeConfig())
    assert again.model.denoiser.logits.kernel.dtype == jnp.float32
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again.save_pretrained(tmp_path / "whole")
    assert "rounded_to" not in json.loads((tmp_path / "whole" / "config.json").read_text())


def test_random_keys_come_back_of_their_kind(tmp_path):
    state = {"key": jax.random.key(3, impl="rbg"), "count": jnp.arange(2)}
    abstract = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), state)
    checkpoints = checkpoint.TrainingCheckpoints(tmp_path)
    checkpoints.save(1, state, {"examples": 5})
    checkpoints.wait()
    step, again, position, unreadable = checkpoints.restore(abstract)
    checkpoints.close()
    assert (step, position, unreadable) == (1, {"examples": 5}, {})
    assert (
        again["key"].dtype == state["key"].dtype and again["key"] == state["key"] and again["count"].tolist() == [0, 1]
    )


def test_an_orbax_that_counts_elsewhere_is_an_error_of_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "orbax.checkpoint._src.futures.synchronization", None)
    with pytest.raises(
        CheckpointError, match="^with orbax-checkpoint .* install orbax-checkpoint 0.12, or start one process alone$"
    ):
        checkpoint._count_operations_alike()


@pytest.mark.parametrize("damage", [pipe, endless])
@pytest.mark.parametrize("file", ["_CHECKPOINT_METADATA", "metrics/metrics"])
def test_a_folder_of_checkpoints_whose_description_is_no_file_is_refused(tmp_path, file, damage):
    kept = checkpoint.TrainingCheckpoints(tmp_path, keep_best=1)
    kept.save(1, {"x": jnp.zeros(3)}, {"at": 0}, score=0.5)
    kept.close()
    damage(tmp_path / "1" / file)
    with pytest.raises(CheckpointError, match=f"cannot be read; .* it is a (named pipe|device); .*1/{file}") as error:
        checkpoint.TrainingCheckpoints(tmp_path, keep_best=1)
    assert "\n" not in str(error.value)


def test_weights_in_int8_are_near_and_the_codec_is_the_same(tmp_path):
    whole = VQDiffusionPipeline(random_network(VQDiffusionModel, preset("tiny_text")))
    whole.save_pretrained(tmp_path / "model", int8=True)
    whole.save_pretrained(tmp_path / "float32", safetensors=True)
    assert json.loads((tmp_path / "model" / "config.json").read_text())["rounded_to"] == "int8"
    sizes = [(tmp_path / name / FILE).stat().st_size for name in ("model", "float32")]
    assert sizes[0] < sizes[1]
    found = VQDiffusionPipeline.from_pretrained(tmp_path / "model").model
    rounded = 0
    for (path, ours), theirs in zip(
        jax.tree_util.tree_leaves_with_path(found), jax.tree.leaves(whole.model), strict=True
    ):
        name = path_of(path)
        network, *_, kind = name.split(".")
        axis = -2 if kind == "kernel" else -1
        if network != "codec" and kind in ("kernel", "embedding"):
            largest = jnp.abs(theirs).max(axis, keepdims=True)
            assert (jnp.abs(ours - theirs) <= largest / 127 * 0.501).all(), name
            rounded += 1
        else:
            assert (ours == theirs).all(), name
    assert rounded > 10
    shards = VQDiffusionPipeline.from_pretrained(tmp_path / "model", mesh=make_mesh()).model
    assert all((a == b).all() for a, b in zip(jax.tree.leaves(shards), jax.tree.leaves(found), strict=True))


@pytest.mark.parametrize(("shape", "dtype"), [((3,), "float32"), ((2, 4), "float32"), ((2, 1), "float16")])
def test_scales_that_do_not_fit_are_told(tmp_path, shape, dtype):
    file, wanted = tmp_path / FILE, {"kernel": jax.ShapeDtypeStruct((2, 3), "float32")}
    stored = {"kernel": np.ones((2, 3), np.int8), "kernel.scale": np.ones((1, 3), np.float32)}
    save_file(stored, file)
    assert load_safetensors(file, wanted)["kernel"].tolist() == [[1.0] * 3] * 2
    save_file(stored | {"kernel.scale": np.ones(shape, dtype)}, file)
    with pytest.raises(CheckpointError, match="kernel.scale is .* beside int8.*: save the model again"):
        load_safetensors(file, wanted)
