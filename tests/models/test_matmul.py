"""A linear layer's product: its numbers, and the sums that each platform is asked for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from vqdiffusion_jax.models.matmul import Linear, dot_general

LINEAR = (((1,), (0,)), ((), ()))


def draw(*shape, dtype="bfloat16"):
    return jnp.asarray(np.random.default_rng(sum(shape)).standard_normal(shape, np.float32), dtype)


@pytest.mark.parametrize("wanted", [None, "float32"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_sums_are_rounded_once(dtype, wanted):
    x, kernel = draw(8, 512, dtype=dtype), draw(512, 16, dtype=dtype)
    found = jax.jit(lambda x, kernel: dot_general(x, kernel, LINEAR, preferred_element_type=wanted))(x, kernel)
    exact = np.asarray(x, np.float64) @ np.asarray(kernel, np.float64)
    assert found.dtype == (wanted or dtype)
    near_zero = 1e-2 if dtype == "float16" else 1e-4
    np.testing.assert_allclose(
        np.asarray(found, np.float64), exact, rtol=float(jnp.finfo(found.dtype).eps), atol=near_zero
    )


@pytest.mark.parametrize("platform, sums", [("cpu", "f32"), ("cuda", "bf16"), ("tpu", "bf16")])
def test_only_a_cpu_is_asked_for_float32_sums(platform, sums):
    x, kernel = draw(8, 32), draw(32, 16)
    text = (
        jax.jit(lambda x, kernel: dot_general(x, kernel, LINEAR))
        .trace(x, kernel)
        .lower(lowering_platforms=(platform,))
        .as_text()
    )
    (product,) = [line for line in text.splitlines() if "stablehlo.dot_general" in line]
    assert product.rstrip().endswith(f"tensor<8x16x{sums}>")


def test_gradients_are_those_of_float32_within_its_digits():
    x, kernel = draw(8, 32), draw(32, 16)

    def gradients(x, kernel):
        return jax.grad(
            lambda x, kernel: jnp.square(dot_general(x, kernel, LINEAR).astype(jnp.float32)).sum(), argnums=(0, 1)
        )(x, kernel)

    expected = gradients(x.astype(jnp.float32), kernel.astype(jnp.float32))
    for found, want in zip(gradients(x, kernel), expected, strict=True):
        assert found.dtype == jnp.bfloat16
        np.testing.assert_allclose(np.asarray(found, np.float32), want, atol=0.02 * float(jnp.abs(want).max()))


@pytest.mark.parametrize("wanted", [None, "float32"])
@pytest.mark.parametrize("rows", [(), (7,), (8,), (3, 5), (2, 3, 4)])
def test_gradients_of_a_layer_are_those_of_float32_within_its_digits(rows, wanted):
    x, layer = draw(*rows, 32), Linear(32, 16, dtype="bfloat16", preferred_element_type=wanted, rngs=nnx.Rngs(0))
    layer.bias = nnx.Param(draw(16, dtype="float32"))

    def gradients(x, layer):
        return jax.grad(lambda x, layer: jnp.square(layer(x).astype(jnp.float32)).sum(), argnums=(0, 1))(x, layer)

    exact = nnx.Linear(32, 16, rngs=nnx.Rngs(0))
    exact.kernel, exact.bias = layer.kernel, layer.bias
    ours, expected = gradients(x, layer), gradients(x.astype(jnp.float32), exact)
    for found, want in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(np.asarray(found, np.float32), want, atol=0.02 * float(jnp.abs(want).max()))


@pytest.mark.parametrize("rows", [(8,), (3, 5)])
def test_on_a_cpu_no_product_of_a_gradient_has_a_factor_in_float32(rows):
    x, kernel = draw(*rows, 32), draw(32, 16)
    last = (((len(rows),), (0,)), ((), ()))

    def loss(x, kernel):
        return jnp.square(dot_general(x, kernel, last, preferred_element_type="float32")).sum()

    text = jax.jit(jax.grad(loss, argnums=(0, 1))).trace(x, kernel).lower(lowering_platforms=("cpu",)).as_text()
    products = [line.split(":")[-1] for line in text.splitlines() if "stablehlo.dot_general" in line]
    assert len(products) == 3
    for product in products:
        factors, _ = product.split("->")
        assert "f32" not in factors.replace("bf16", ""), product


def test_the_bias_and_its_gradient_are_those_of_a_plain_layer_in_float32():
    x, layer, plain = (
        draw(4, 6, 32, dtype="float32"),
        *(kind(32, 16, rngs=nnx.Rngs(0)) for kind in (Linear, nnx.Linear)),
    )
    layer.bias = plain.bias = nnx.Param(draw(16, dtype="float32"))
    for found, want in zip(
        *(jax.tree.leaves(jax.value_and_grad(lambda layer: jnp.square(layer(x)).sum())(one)) for one in (layer, plain)),
        strict=True,
    ):
        np.testing.assert_array_equal(found, want)
