"""The cheaper forms of a convolution give its numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.networks import random_network
from vqdiffusion_jax.config import ComputeConfig
from vqdiffusion_jax.models.convolution import conv, conv_of_upsampled, convolve, winograd

AROUND = {2: ((0, 1), (1, 0)), 3: ((1, 1), (1, 1))}


@pytest.fixture(params=["direct", "winograd"])
def form(request, monkeypatch):
    """Both forms at widths of a few channels."""
    fewest = 1 if request.param == "winograd" else 1000
    monkeypatch.setattr("vqdiffusion_jax.models.convolution.WINOGRAD_CHANNELS", fewest)
    return request.param


def draw(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def by_hand(x, kernel, padding):
    """Return the definition in float64 numpy."""
    x = np.pad(np.float64(x), ((0, 0), *padding, (0, 0)))
    rows, columns = kernel.shape[:2]
    height, width = x.shape[1] - rows + 1, x.shape[2] - columns + 1
    return sum(
        x[:, i : i + height, j : j + width] @ np.float64(kernel[i, j]) for i in range(rows) for j in range(columns)
    )


@pytest.mark.parametrize("size", [2, 3])
def test_winograd_is_the_convolution(size):
    x, kernel = draw(2, 6, 8, 5), draw(size, size, 5, 7)
    expected = by_hand(x, kernel, AROUND[size])
    np.testing.assert_allclose(winograd(jnp.asarray(x), jnp.asarray(kernel), AROUND[size]), expected, atol=2e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("size", [2, 3])
def test_rounding_is_that_of_the_direct_form_within_a_factor_of_two(size, dtype):
    x, kernel = draw(1, 16, 16, 128), draw(size, size, 128, 128)
    expected = by_hand(x, kernel, AROUND[size])
    x, kernel = jnp.asarray(x, dtype), jnp.asarray(kernel, dtype)
    direct = jax.lax.conv_general_dilated(x, kernel, (1, 1), AROUND[size], dimension_numbers=("NHWC", "HWIO", "NHWC"))
    found = winograd(x, kernel, AROUND[size])
    assert found.dtype == direct.dtype == dtype
    error, allowed = (
        np.sqrt(np.square(np.asarray(result, np.float32) - expected).mean()) for result in (found, direct)
    )
    assert error < 2 * allowed


def test_only_wide_layers_of_an_even_result_take_it(form):
    def products(x, kernel, padding=AROUND[3]):
        lowered = (
            jax.jit(lambda x, kernel: convolve(x, kernel, padding)).trace(x, kernel).lower(lowering_platforms=("cpu",))
        )
        return lowered.as_text().count("dot_general")

    x, kernel = jnp.zeros((1, 6, 8, 4)), jnp.zeros((3, 3, 4, 4))
    assert products(x, kernel) == (5 if form == "winograd" else 0)  # a row of places each, and the kernel's transform
    assert products(x[:, 1:], kernel) == 0
    assert products(x, kernel[:1], ((0, 0), (1, 1))) == 0
    assert products(x.astype("float16"), kernel.astype("float16")) == 0


def test_accelerators_take_the_direct_form(form):
    x, kernel = jnp.zeros((1, 6, 8, 4)), jnp.zeros((3, 3, 4, 4))
    for platform in ("tpu", "cuda"):
        text = (
            jax.jit(lambda x, k: convolve(x, k, AROUND[3]))
            .trace(x, kernel)
            .lower(lowering_platforms=(platform,))
            .as_text()
        )
        assert "stablehlo.convolution" in text and "dot_general" not in text


def test_a_layer_and_its_gradient(form):
    layer, x = random_network(conv, 3, 5, ComputeConfig()), draw(2, 4, 6, 3)
    kernel, bias = (np.asarray(leaf[...]) for leaf in (layer.kernel, layer.bias))
    np.testing.assert_allclose(layer(jnp.asarray(x)), by_hand(x, kernel, AROUND[3]) + bias, atol=1e-5)

    target = draw(2, 4, 6, 5)
    found = jax.grad(lambda x: (layer(x) * target).sum())(jnp.asarray(x))
    turned = kernel[::-1, ::-1].swapaxes(2, 3)
    np.testing.assert_allclose(found, by_hand(target, turned, AROUND[3]), atol=1e-5)


@pytest.mark.parametrize("shape", [(2, 3, 4, 3), (2, 4, 6, 3)])
def test_convolution_of_an_upsampled_map_is_that_of_every_pixel_four_times(form, shape, monkeypatch):
    layer, x = random_network(conv, 3, 5, ComputeConfig()), draw(*shape)
    expected = by_hand(x.repeat(2, 1).repeat(2, 2), np.asarray(layer.kernel[...]), AROUND[3]) + np.asarray(
        layer.bias[...]
    )
    np.testing.assert_allclose(conv_of_upsampled(layer, jnp.asarray(x)), expected, atol=1e-5)
    monkeypatch.setattr(
        "vqdiffusion_jax.models.convolution.jax.lax.platform_dependent", lambda *args, cpu, default: default(*args)
    )
    np.testing.assert_allclose(conv_of_upsampled(layer, jnp.asarray(x)), expected, atol=1e-5)


def test_training_does_not_keep_the_transformed_input(monkeypatch):
    def memory(fewest):
        monkeypatch.setattr("vqdiffusion_jax.models.convolution.WINOGRAD_CHANNELS", fewest)

        def loss(x, kernels):
            for kernel in kernels:
                x = jnp.tanh(convolve(x, kernel, AROUND[3]))
            return x.sum()

        compiled = (
            jax.jit(jax.grad(loss, argnums=1)).lower(jnp.zeros((1, 16, 16, 8)), jnp.zeros((8, 3, 3, 8, 8))).compile()
        )
        return compiled.memory_analysis().temp_size_in_bytes

    inputs = 8 * 16 * 16 * 8 * 4  # bytes that all layers read
    assert memory(1) < memory(1000) + 2 * inputs
