import json
import subprocess
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from tests.multiprocess_sampling import SETTINGS
from tests.networks import random_network
from tests.processes import free_address, run_on_devices, start_on_devices, wait_for
from vqdiffusion_jax import VQDiffusionPipeline, preset
from vqdiffusion_jax.models.shapes import shapes_of
from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel
from vqdiffusion_jax.paths import leaves_by_path
from vqdiffusion_jax.sharding import AXES, ShardingRules, compiler_options, divisible_spec, is_divisible, make_mesh


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sharded") / "model"
    VQDiffusionPipeline(random_network(VQDiffusionModel, preset("tiny_text"))).save_pretrained(folder)
    return folder


def said(done: subprocess.CompletedProcess) -> dict:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def report(folder):
    done = run_on_devices(8, "tests/sharded_sampling.py", folder)
    if (
        "rendezvous" in done.stderr and done.returncode
    ):  # simulated devices on a loaded machine: XLA gave up waiting for a thread
        done = run_on_devices(8, "tests/sharded_sampling.py", folder)
    return said(done)


def test_each_process_draws_its_own_pictures(folder):
    address = free_address()
    processes = [start_on_devices(2, "tests/multiprocess_sampling.py", folder, address, 2, index) for index in range(2)]
    first, second = (said(wait_for(process)) for process in processes)
    assert first["devices"] == second["devices"] == 4
    assert first["indices"] and second["indices"]
    assert sorted(first["indices"] + second["indices"]) == list(range(6))
    alone = VQDiffusionPipeline.from_pretrained(folder)("a red apple", **SETTINGS).tokens.tolist()
    for share in (first, second):
        for index, tokens in zip(share["indices"], share["tokens"], strict=True):
            assert tokens == alone[index]


@pytest.mark.parametrize("mesh", ["data", "fsdp", "tensor", "mixed"])
def test_every_mesh_draws_what_one_device_draws(report, mesh):
    assert report["devices"] == 8
    assert report["meshes"][mesh]["same tokens"]
    assert report["meshes"][mesh]["pixels apart"] <= 1  # rounding at the edge of a level


def test_weights_are_restored_to_their_shards(report):
    shares = {name: mesh["query share"] for name, mesh in report["meshes"].items()}
    assert shares == {"data": 1.0, "fsdp": 1 / 8, "tensor": 1 / 8, "mixed": 1 / 4}


def test_every_large_parameter_of_a_released_model_is_split():
    model = shapes_of(VQDiffusionModel, preset("ithq"))
    rules, whole = ShardingRules(), []
    for path, leaf in leaves_by_path(model).items():
        spec = rules.spec(path, leaf.ndim)
        assert len(spec) <= leaf.ndim
        if leaf.size > 2**20 and all(axis is None for axis in spec):
            whole.append(path)
    assert whole == []


def test_attention_values_have_a_path_of_their_own():
    model = shapes_of(VQDiffusionModel, preset("tiny_text"))
    paths = leaves_by_path(model)
    assert "denoiser.blocks.self_attention.value.kernel" in paths
    assert len(paths) == len(jax.tree.leaves(model))


def test_axes_that_do_not_divide_are_left_out():
    mesh = jax.sharding.AbstractMesh((2, 4), ("fsdp", "tensor"))
    assert divisible_spec(P("fsdp", "tensor"), (6, 8), mesh) == P("fsdp", "tensor")
    assert divisible_spec(P("fsdp", "tensor"), (7, 8), mesh) == P(None, "tensor")
    assert divisible_spec(P(("fsdp", "tensor")), (4, 8), mesh) == P(None, None)
    assert is_divisible(P("fsdp", None, "tensor"), (6, 5, 8, 3), mesh)
    assert not is_divisible(P("fsdp", None, "tensor"), (6, 5, 6, 3), mesh)
    assert not is_divisible(P(("fsdp", "tensor")), (4, 8), mesh)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [((-1, -1, 1), "only one may be -1"), ((3, 1, 1), "needs 3 devices"), ((0, 1, 1), "at least 1")],
)
def test_meshes_that_cannot_be_made(sizes, message):
    with pytest.raises(ValueError, match=message):
        make_mesh(*sizes, devices=jax.devices()[:1])


def test_one_device_is_a_mesh_of_one():
    mesh = make_mesh(devices=jax.devices()[:1])
    assert dict(mesh.shape) == {"data": 1, "fsdp": 1, "tensor": 1}
    pipeline = VQDiffusionPipeline(random_network(VQDiffusionModel, preset("tiny_class")), mesh=mesh)
    plain = VQDiffusionPipeline(pipeline.model)
    assert jnp.array_equal(
        pipeline(class_labels=1, output_type="tokens").tokens, plain(class_labels=1, output_type="tokens").tokens
    )


@pytest.mark.parametrize(
    ("platform", "sizes", "some"), [("tpu", (2, 4, 1), True), ("tpu", (8, 1, 1), False), ("cpu", (1, 8, 1), False)]
)
def test_only_tpus_that_split_weights_have_options_of_their_compiler(platform, sizes, some):
    devices = np.array([SimpleNamespace(platform=platform)] * 8)
    mesh = SimpleNamespace(devices=devices, shape=dict(zip(AXES, sizes, strict=True)))
    assert bool(compiler_options(mesh)) == some
