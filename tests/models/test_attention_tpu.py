"""The TPU's attention kernel computes what the plain form does, and is taken where a program is lowered for a TPU."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from tests.models.test_attention import by_hand
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


def test_training_masks_and_meshes_take_the_plain_form():
    qkv = draw(1024, 1024, 16, 88)
    assert KERNEL not in lowered(gradient, *qkv)
    assert KERNEL not in lowered(lambda *qkv: attention(*qkv, causal=True), *qkv)
    assert KERNEL not in lowered(lambda *qkv: attention(*qkv, implementation="xla"), *qkv)
    mesh = jax.sharding.AbstractMesh((2, 1, 1), AXES, axis_types=(AxisType.Auto,) * 3)
    with jax.sharding.use_abstract_mesh(mesh):
        assert KERNEL not in lowered(attention, *qkv)


def test_gradients_are_those_of_the_plain_form():
    qkv = draw(256, 256, 4, 32)
    plain = jax.grad(lambda *qkv: attention(*qkv, implementation="xla").astype(jnp.float32).sum(), argnums=(0, 1, 2))
    through_kernel = jax.grad(lambda *qkv: module._fused_on_tpu(*qkv).astype(jnp.float32).sum(), argnums=(0, 1, 2))
    for got, want in zip(through_kernel(*qkv), plain(*qkv)):
        np.testing.assert_array_equal(got.astype("float32"), want.astype("float32"))


@pytest.mark.parametrize("installed", [True, False])
def test_a_program_lowered_for_a_gpu_elsewhere_takes_cudnn_if_it_is_installed(installed, monkeypatch):
    """The process's own device, a CPU here, does not decide."""

    def cudnn(query, key, value, *, causal):
        if not installed:
            raise RuntimeError("cuDNN is not detected.")
        return jnp.tanh(query)

    monkeypatch.setattr(module, "_cudnn", cudnn)
    module._cudnn_supports.cache_clear()
    try:
        text = lowered(lambda *qkv: attention(*qkv), *draw(256, 256, 4, 32), platform="cuda")
    finally:
        module._cudnn_supports.cache_clear()
    assert ("stablehlo.tanh" in text) == installed
