"""The TPU's attention kernels, forward and backward, compute what the plain form does; programs for a TPU have them."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from tests.models.test_attention import by_hand
from tests.processes import run_on_devices
from vqdiffusion_jax.models import attention as module
from vqdiffusion_jax.models import attention_tpu
from vqdiffusion_jax.models.attention import attention
from vqdiffusion_jax.sharding import AXES

KERNEL = "tpu_custom_call"


def draw(length, context, heads, width, dtype="bfloat16"):
    keys = jax.random.split(jax.random.key(width), 3)
    shapes = ((2, length, heads, width), (2, context, heads, width), (2, context, heads, width))
    return [jax.random.normal(key, shape, dtype) for key, shape in zip(keys, shapes)]


def lowered(function, *arguments, platform="tpu"):
    return jax.jit(function).trace(*arguments).lower(lowering_platforms=(platform,)).as_text()


def gradient(*qkv):
    return jax.grad(lambda *qkv: attention(*qkv).astype(jnp.float32).sum(), argnums=(0, 1, 2))(*qkv)


def kernel_gradients(*arrays):
    return partial(attention_tpu.gradients, interpret=True)(*arrays)


@pytest.mark.parametrize("context", [512, 77])
@pytest.mark.parametrize("heads, width", [(16, 88), (2, 64), (4, 32)])
@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-5), ("bfloat16", 2e-2)])
def test_kernel_agrees_with_the_definition(context, heads, width, dtype, tolerance):
    """Several blocks of queries, more and fewer keys, and every head width of the released models."""
    qkv = draw(384, context, heads, width, dtype)
    got = attention_tpu.fused(*qkv, interpret=True)
    assert got.dtype == dtype
    np.testing.assert_allclose(got.astype("float32"), by_hand(*qkv), atol=tolerance)


def test_kernel_is_as_near_to_the_definition_as_the_plain_form():
    qkv = draw(256, 256, 4, 64)
    errors = [
        np.abs(np.asarray(form(*qkv), np.float64) - by_hand(*qkv)).mean()
        for form in (lambda *qkv: attention_tpu.fused(*qkv, interpret=True), lambda *qkv: attention(*qkv))
    ]
    assert errors[0] < 1.2 * errors[1]


@pytest.mark.parametrize("context", [1024, 77])
@pytest.mark.parametrize("heads, width", [(16, 88), (16, 64), (4, 32)])
def test_programs_for_a_tpu_have_the_kernel_and_others_do_not(context, heads, width):
    qkv = draw(1024, context, heads, width)
    assert lowered(attention, *qkv).count(KERNEL) == 1
    for platform in ("cpu", "cuda"):
        assert KERNEL not in lowered(attention, *qkv, platform=platform)


@pytest.mark.parametrize(
    "length, context, heads, width, dtype",
    [(1024, 1024, 16, 88, "float32"), (1000, 1000, 16, 88, "bfloat16"),
     (256, 256, 3, 32, "bfloat16"), (8192, 8192, 16, 88, "bfloat16")],
    ids=["float32", "length", "features", "too many keys"],
)  # fmt: skip
def test_other_arrays_take_the_plain_form(length, context, heads, width, dtype):
    query, key = (jax.ShapeDtypeStruct((1, rows, heads, width), dtype) for rows in (length, context))
    assert KERNEL not in lowered(attention, query, key, key)


def test_masks_and_a_demand_for_xla_take_the_plain_form():
    qkv = draw(1024, 1024, 16, 88)
    assert KERNEL not in lowered(lambda *qkv: attention(*qkv, causal=True), *qkv)
    assert KERNEL not in lowered(lambda *qkv: attention(*qkv, implementation="xla"), *qkv)


def test_training_for_a_tpu_has_a_kernel_forward_and_one_backward():
    qkv = draw(1024, 77, 16, 88)
    text = lowered(gradient, *qkv)
    assert text.count(KERNEL) == 1  # the gradient alone needs no values
    assert "gradients_of_fused_attention_of_16_heads" in text
    both = lowered(lambda *qkv: (attention(*qkv), gradient(*qkv)), *qkv)
    assert both.count(KERNEL) == 2
    for platform in ("cpu", "cuda"):
        assert KERNEL not in lowered(gradient, *qkv, platform=platform)


@pytest.mark.parametrize("sizes", [(2, 1, 1), (1, 2, 1), (2, 2, 1), (1, 1, 4), (2, 1, 2)], ids=str)
def test_on_a_mesh_each_device_has_the_kernel_on_its_samples_and_heads(sizes):
    query = jax.ShapeDtypeStruct((4, 256, 16, 32), "bfloat16")
    mesh = jax.sharding.AbstractMesh(sizes, AXES, axis_types=(AxisType.Auto,) * 3)
    with jax.sharding.use_abstract_mesh(mesh):
        for function in (attention, gradient):
            text = lowered(function, query, query, query)
            assert text.count(KERNEL) == 1
            samples, features = 4 // (sizes[0] * sizes[1]), 16 // sizes[2] * 32
            assert f"tensor<{samples}x256x{features}xbf16>" in text
            assert KERNEL not in lowered(function, query, query, query, platform="cpu")


@pytest.mark.parametrize("sizes", [(4, 1, 1), (1, 1, 3), (1, 1, 8)], ids=["samples", "heads", "features of a device"])
def test_a_mesh_that_does_not_divide_samples_or_heads_takes_the_plain_form(sizes):
    query = jax.ShapeDtypeStruct((2, 256, 16, 32), "bfloat16")
    mesh = jax.sharding.AbstractMesh(sizes, AXES, axis_types=(AxisType.Auto,) * 3)
    with jax.sharding.use_abstract_mesh(mesh):
        assert KERNEL not in lowered(attention, query, query, query)


@pytest.mark.parametrize("context", [256, 77, 5])
@pytest.mark.parametrize("length, heads, width", [(256, 16, 88), (256, 2, 64), (384, 4, 32), (24, 3, 8)])
def test_gradients_agree_with_those_of_the_definition(length, heads, width, context):
    """Several blocks of queries, more and fewer keys; in float32, where only rounding is left."""
    qkv = draw(length, context, heads, width, "float32")
    given = jax.random.normal(jax.random.key(1), qkv[0].shape)
    want = jax.vjp(lambda *qkv: attention(*qkv, implementation="xla"), *qkv)[1](given)
    for got, expected in zip(kernel_gradients(*qkv, given), want):
        np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize("context", [1024, 77])
@pytest.mark.parametrize("heads, width", [(1, 88), (1, 64), (1, 32)])
def test_gradients_in_bfloat16_are_as_near_to_the_truth_as_the_plain_form(context, heads, width):
    qkv = draw(1024, context, heads, width)
    given = jax.random.normal(jax.random.key(1), qkv[0].shape, "bfloat16")

    def plain(*qkv):
        return jax.vjp(lambda *qkv: attention(*qkv, implementation="xla"), *qkv)[1](given.astype(qkv[0].dtype))

    truth = plain(*(array.astype("float32") for array in qkv))
    through_xla, through_kernel = plain(*qkv), kernel_gradients(*qkv, given)
    for got, other, true in zip(through_kernel, through_xla, truth):
        assert got.dtype == "bfloat16"
        assert np.linalg.norm(got.astype("float32") - true) < 1.2 * np.linalg.norm(other.astype("float32") - true)


def test_kernels_on_meshes_of_devices_give_values_and_gradients_of_the_plain_form():
    done = run_on_devices(4, "tests/attention_on_devices.py")
    assert done.returncode == 0, done.stderr
    for mesh, seen in json.loads(done.stdout.splitlines()[-1]).items():
        assert seen["is sharded"], mesh
        assert max(seen["apart"]) < 1e-2, (mesh, seen["apart"])


def test_elsewhere_gradients_are_those_of_the_plain_form():
    qkv = draw(256, 256, 4, 32)
    plain = jax.grad(lambda *qkv: attention(*qkv, implementation="xla").astype(jnp.float32).sum(), argnums=(0, 1, 2))
    outside = jax.grad(lambda *qkv: module._fused_on_tpu(*qkv).astype(jnp.float32).sum(), argnums=(0, 1, 2))
    for got, want in zip(outside(*qkv), plain(*qkv)):
        np.testing.assert_array_equal(got.astype("float32"), want.astype("float32"))


@pytest.mark.parametrize("installed", [True, False])
def test_a_program_lowered_for_a_gpu_elsewhere_takes_cudnn_if_it_is_installed(installed, monkeypatch):
    """The process's own device, a CPU here, does not decide."""

    def cudnn(query, key, value, causal):
        if not installed:
            raise RuntimeError("cuDNN is not detected.")
        return jnp.tanh(query)

    monkeypatch.setattr(module, "_cudnn", cudnn)
    answers = (module._cudnn_supports, module.cudnn_refusal)
    for answer in answers:
        answer.cache_clear()
    try:
        text = lowered(lambda *qkv: attention(*qkv), *draw(256, 256, 4, 32), platform="cuda")
    finally:
        for answer in answers:
            answer.cache_clear()
    assert ("stablehlo.tanh" in text) == installed
