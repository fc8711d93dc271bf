"""A mistake in a run is told in one line before its first step, through the command line itself."""

import sys
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from jax.sharding import AbstractMesh
from PIL import Image

from tests.in_process import left_as_it_was
from vqdiffusion_jax.cli import run
from vqdiffusion_jax.loading import write_folder
from vqdiffusion_jax.models.components import CodecComponent
from vqdiffusion_jax.models.shapes import shapes_of
from vqdiffusion_jax.presets import preset
from vqdiffusion_jax.sharding import AXES

CONFIG = """
from vqdiffusion_jax.training.config_dict import train_config_dict

def get_config():
    return train_config_dict(
        model="tiny_class", data=dict(source="folder", root={root!r}, options=dict(labels="folders")), batch_size=8,
        steps=2, compute=dict(dtype="float32", remat=False), untrained_towers=True, workers=0{more},
    )
"""
pytestmark = pytest.mark.usefixtures("compilation_cache")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Pictures, a configuration, its codec and another."""
    place = tmp_path_factory.mktemp("mistakes")
    (place / "pictures" / "one").mkdir(parents=True)
    (place / "empty").mkdir()
    for index in range(10):
        Image.new("RGB", (16, 16), (index, 0, 0)).save(place / "pictures" / "one" / f"{index}.png")
    (place / "run.py").write_text(CONFIG.format(root=str(place / "pictures"), more=""))
    (place / "misspelt.py").write_text(CONFIG.format(root=str(place / "pictures"), more=", batchsize=8"))
    (place / "file").write_text("")
    for name, model in (("codec", "tiny_class"), ("other", "tiny_text")):
        part = shapes_of(CodecComponent, preset(model).codec)  # noqa: B023
        write_folder(place / name, jax.tree.map(lambda leaf: jax.numpy.zeros(leaf.shape, leaf.dtype), part), None)
    return place


@pytest.fixture
def fails(place, tmp_path, capsys, monkeypatch):
    """Runs the command line, which must fail before its first step: the one line it says."""

    def attempt(*arguments: str, config: str = "run.py", workdir: str = "", codec: str = "codec") -> str:
        given = [
            f"--config={place / config}",
            f"--workdir={workdir or tmp_path / 'run'}",
            *([f"--codec={place / codec}"] if codec else []),
        ]
        command = ["main.py", "--mode=train", *given, *(argument.format(place=place) for argument in arguments)]
        monkeypatch.setattr(sys, "argv", command)  # where ml_collections looks for fields that are changed
        capsys.readouterr()
        with left_as_it_was():
            assert run(command) == 1
        said = capsys.readouterr()
        lines = said.err.strip().splitlines()  # an account of the data may stand before the error
        assert [line for line in lines if line.startswith("error: ")] == lines[-1:], said.err
        assert "step 1" not in said.out and "Traceback" not in said.err
        return lines[-1]

    return attempt


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--config.data.root={place}/nowhere",), "nowhere does not exist"),
        (("--config.data.root={place}/empty", "--config.data.options.labels="), "empty"),
        (("--init_from={place}/nowhere",), "nowhere does not exist; give a model folder"),
        (("--config.mesh.data=3",), "needs 3 devices; there are"),
        (("--config.batch_size=0",), "batch_size is 0; it must be a whole number of at least 1"),
        (("--config.watch.eval_every=1",), "validation"),
        (("--config.batchsize=16",), "batchsize"),
        (("--config.model.denoiser.depth=3",), "depth"),
        (("--weights=model",), "--weights is given, but it goes with --init_from=FILE; leave it out"),
        (("--clip_dtype=float16",), "--clip_dtype is given, but it goes with a text tower"),
        (("--coordinator=localhost:1",), "--coordinator is given without --num_processes"),
    ],
)
def test_one_line(arguments, message, fails):
    assert message in fails(*arguments)


def test_no_grain(fails, monkeypatch):
    monkeypatch.setitem(sys.modules, "grain", None)
    assert fails().endswith("needs grain; install it with pip install grain")


def test_codec_of_another_size(fails):
    told = fails(codec="other")
    assert "the codec has K = 24 codes on a grid of (4, 4), but the model expects 16" in told
    assert "other was trained with another configuration than --config" in told


def test_no_codec(fails):
    message = "no codec is given; pass --init_from=MODEL or --codec=FILE"
    assert message in fails("--config.untrained_towers=False", codec="")


def test_unknown_field_of_a_file(fails):
    assert "TrainConfig has unknown fields batchsize" in fails(config="misspelt.py")


def test_config_that_is_not_there(fails):
    assert "elsewhere.py" in fails(config="elsewhere.py")


def test_workdir_that_cannot_be(fails, place):
    assert "cannot be written to: Not a directory; choose another --workdir" in fails(
        workdir=str(place / "file" / "below")
    )


def test_batch_that_the_mesh_does_not_divide(fails, monkeypatch):
    monkeypatch.setattr("vqdiffusion_jax.sharding.make_mesh", lambda *sizes: AbstractMesh((3, 1, 1), AXES))
    assert "8 samples at a time are not divisible by the mesh's data x fsdp = 3 x 1 = 3" in fails()


def test_batch_that_the_processes_do_not_divide(fails, monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 3)
    assert "batch_size 8 is not divisible by the 3 processes" in fails()


def test_a_tensor_axis_over_processes(fails, monkeypatch):
    devices = np.array([SimpleNamespace(process_index=index) for index in range(2)]).reshape(1, 1, 2)
    mesh = SimpleNamespace(devices=devices, shape=dict(zip(AXES, devices.shape, strict=True)))
    monkeypatch.setattr("vqdiffusion_jax.sharding.make_mesh", lambda *sizes: mesh)
    assert "mesh.tensor=2 spans several processes" in fails("--config.mesh.tensor=2")
