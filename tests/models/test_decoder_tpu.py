"""The decoder as a TPU has it: the deep blocks as a loop."""

import jax
import jax.numpy as jnp
import numpy as np

from vqdiffusion_jax.config import ComputeConfig, VQGANConfig
from vqdiffusion_jax.models.shapes import make_rngs
from vqdiffusion_jax.models.vqgan_blocks import Decoder

SMALL = VQGANConfig(
    quantizer="ema",
    codebook_size=8,
    embed_dim=4,
    image_size=4,
    channels=8,
    channel_multipliers=(1,),
    num_res_blocks=1,
    attention_levels=(0,),
    z_channels=4,
    norm_groups=4,
)


def on_a_tpu(*operands, default=None, **forms):
    return forms.get("tpu", default)(*operands)


def test_the_deep_blocks_as_a_loop_give_the_same(monkeypatch):
    """Images and gradients of a decoder as a TPU has it: the blocks of the lowest resolution are a loop."""
    decoder = Decoder(SMALL, ComputeConfig(remat=True), rngs=make_rngs(0))
    features = jax.random.normal(jax.random.key(1), (1, 4, 4, SMALL.z_channels))

    def results():
        return jax.jit(lambda decoder: jax.value_and_grad(loss, has_aux=True)(decoder))(decoder)

    def loss(decoder):
        images = decoder(features)
        return jnp.square(images).sum(), images

    (_, expected), gradients = results()
    monkeypatch.setattr(jax.lax, "platform_dependent", on_a_tpu)
    assert "scan[" in str(jax.make_jaxpr(decoder)(features))
    (_, images), found = results()
    np.testing.assert_allclose(images, expected, atol=1e-5)
    for got, wanted in zip(jax.tree.leaves(found), jax.tree.leaves(gradients), strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-4 * max(1.0, float(jnp.abs(wanted).max())))
