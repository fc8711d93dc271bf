"""LoRA: an update of nothing at first, the same apart and merged, and refused where it cannot be."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.networks import random_network
from vqdiffusion_jax.config import ComputeConfig
from vqdiffusion_jax.errors import ConfigError
from vqdiffusion_jax.models.denoiser import Denoiser
from vqdiffusion_jax.models.lora import Factors, LoRA, LoRALinear, check_fits, init, merged, with_lora
from vqdiffusion_jax.models.shapes import shapes_of
from vqdiffusion_jax.presets import preset
from vqdiffusion_jax.random_keys import key_of

CONFIG = preset("tiny_text").denoiser
ALL = ("query", "key", "value", "out", "up", "down")


@pytest.fixture(scope="module")
def base():
    return random_network(Denoiser, CONFIG)


def new(seed=0, rank=2, targets=ALL, config=CONFIG):
    return init(shapes_of(Denoiser, config), rank=rank, alpha=3.0, targets=targets, key=key_of(seed))


def trained(seed=0, **options):
    """A LoRA as it is after training, when b is no longer zero."""
    draw = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: jnp.asarray(draw.normal(size=leaf.shape), jnp.float32) * 0.1, new(**options))


@jax.jit
def logits(denoiser):
    draw = np.random.default_rng(7)
    tokens = jnp.asarray(draw.integers(0, CONFIG.num_codes + 1, (2, CONFIG.num_tokens)), jnp.int32)
    text = jnp.asarray(draw.normal(size=(2, CONFIG.condition_length, CONFIG.condition_width)), jnp.float32)
    return denoiser(tokens, jnp.array([1, 5]), text)


def test_a_new_adapter_changes_no_bit(base):
    lora = new()
    assert {leaf.shape[-1] for leaf in (f.a for f in lora.layers.values())} == {2} and lora.scale == 1.5
    assert len(lora.layers) == 10 and all(np.any(f.a) and not np.any(f.b) for f in lora.layers.values())
    np.testing.assert_array_equal(logits(with_lora(base, lora)), logits(base))
    jax.tree.map(np.testing.assert_array_equal, merged(base, [(lora, 1.0)]), base)


def test_apart_and_merged_are_the_same_and_adapters_add_up(base):
    one, two = trained(1), trained(2, rank=3, targets=("cross_attention.query", "down"))
    both = merged(base, [(one, 0.5), (two, -2.0)])
    for path in ("self_attention.value", "cross_attention.query", "mlp.down"):
        layer, found = (network.blocks for network in (base, both))
        for name in path.split("."):
            layer, found = getattr(layer, name), getattr(found, name)
        wanted = np.asarray(layer.kernel[...], np.float64)
        for lora, weight in ((one, 0.5), (two, -2.0)):
            if (factors := lora.layers.get(f"blocks.{path}")) is not None:
                update = np.asarray(factors.a, np.float64) @ np.asarray(factors.b, np.float64)
                wanted = wanted + weight * 3.0 / lora.rank * update
        np.testing.assert_allclose(found.kernel[...], wanted, atol=1e-6)
    assert set(two.layers) == {"blocks.cross_attention.query", "blocks.mlp.down"}
    apart, together = logits(with_lora(base, one)), logits(merged(base, [(one, 1.0)]))
    assert np.abs(apart - logits(base)).max() > 1e-2
    np.testing.assert_allclose(apart, together, atol=2e-5)


def test_unrolled_layers_and_recomputed_activations_give_the_same(base):
    lora = trained(3)
    compute = ComputeConfig(scan_layers=False, remat=True)
    other = jax.tree.unflatten(jax.tree.structure(shapes_of(Denoiser, CONFIG, compute)), jax.tree.leaves(base))
    np.testing.assert_allclose(logits(with_lora(other, lora)), logits(with_lora(base, lora)), atol=1e-5)


def test_weights_in_bfloat16_stay_so_and_are_rounded_once(base):
    half = ComputeConfig(dtype="bfloat16", param_dtype="bfloat16")
    network, lora = random_network(Denoiser, CONFIG, half), trained(4, targets=("query",))
    made = merged(network, [(lora, 1.0)]).blocks.self_attention.query.kernel[...]
    factors = lora.layers["blocks.self_attention.query"]
    kernel = network.blocks.self_attention.query.kernel[...]
    wanted = np.asarray(kernel, np.float32) + lora.scale * np.asarray(factors.a) @ np.asarray(factors.b)
    assert made.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(made, np.float32), wanted, rtol=2**-8)
    layer = jax.tree.map(lambda leaf: leaf[0], network.blocks.self_attention.query)
    first = jax.tree.map(lambda leaf: leaf[0], new().layers["blocks.self_attention.query"])
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, CONFIG.width)), jnp.bfloat16)
    y = LoRALinear(layer, first, 1.5)(x)
    np.testing.assert_array_equal(y, layer(x))
    assert y.dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ("config", "compute", "targets", "told"),
    [
        (CONFIG, ComputeConfig(), ("querry",), "'querry' names no layer; layers: blocks.self_attention.query, "),
        (CONFIG, ComputeConfig(), ("uery",), "'uery' names no layer"),
        (CONFIG, ComputeConfig(fp8=True), ("query",), "query multiplies in float8"),
        (replace(CONFIG, mlp="conv"), ComputeConfig(), ("query", "up"), "blocks.mlp.up is a convolution"),
    ],
)
def test_layers_that_cannot_be_adapted_are_told(config, compute, targets, told):
    with pytest.raises(ConfigError, match=told):
        init(shapes_of(Denoiser, config, compute), rank=2, alpha=1.0, targets=targets, key=key_of(0))


def test_an_adapter_of_another_model_is_told():
    lora = new(targets=("cross_attention.query",))
    check_fits(lora, shapes_of(Denoiser, CONFIG))
    (factors,) = lora.layers.values()
    narrow, stray = Factors(factors.a[:, 1:], factors.b), LoRA({"blocks.logits": factors}, 1.0)
    for wrong, model, told in (
        (lora, preset("tiny_class").denoiser, "no linear layer blocks.cross_attention.query"),
        (stray, CONFIG, "no linear layer blocks.logits"),
        (LoRA(dict.fromkeys(lora.layers, narrow), 1.0), CONFIG, r"is \(.*\) in this model, but the LoRA changes"),
        (LoRA(dict.fromkeys(lora.layers, Factors(factors.a[1:], factors.b[1:])), 1.0), CONFIG, "another model"),
    ):
        with pytest.raises(ConfigError, match=told):
            check_fits(wrong, shapes_of(Denoiser, model))
