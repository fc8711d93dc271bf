"""The dense codec: tokens are of a cell alone, pixels of a cell and its neighbours, and gradients reach the encoder."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqdiffusion_jax.config import ComputeConfig, VQGANConfig
from vqdiffusion_jax.errors import ConfigError
from vqdiffusion_jax.models.shapes import Keys, make_rngs
from vqdiffusion_jax.models.vqgan import VQGAN
from vqdiffusion_jax.training.vqgan.config import CodebookConfig
from vqdiffusion_jax.training.vqgan.quantize import quantize

CONFIG = VQGANConfig(
    quantizer="fsq",
    levels=(5, 5, 3),
    codebook_size=75,
    embed_dim=3,
    image_size=32,
    channels=16,
    channel_multipliers=(1, 1, 1),
    num_res_blocks=1,
    attention_levels=(),
    z_channels=3,
    norm_groups=8,
    encoder_window=8,
    network="dense",
)


@pytest.fixture(scope="module")
def codec():
    return VQGAN(CONFIG, ComputeConfig(), rngs=Keys(0))


def pictures(batch=2):
    return jax.random.uniform(jax.random.key(1), (batch, 32, 32, 3), minval=-1.0, maxval=1.0)


def test_shapes(codec):
    tokens = codec.encode(pictures())
    assert tokens.shape == (2, 64) and tokens.dtype == jnp.int32 and 0 <= int(tokens.min()) <= int(tokens.max()) < 75
    assert codec.decode(tokens).shape == (2, 32, 32, 3)


def test_tokens_are_of_their_cell_alone(codec):
    images = pictures(1)
    changed = codec.encode(images.at[:, 8:16, 16:24].set(0.3)) != codec.encode(images)
    rows, columns = np.nonzero(np.asarray(changed).reshape(8, 8))
    assert len(rows) and set(rows) <= {2, 3} and set(columns) <= {4, 5}


def test_pixels_are_of_a_cell_and_its_neighbours(codec):
    tokens = codec.encode(pictures(1))
    other = tokens.at[0, 2 * 8 + 4].add(1) % 75  # in the cell of rows 8 to 15 and columns 16 to 23
    changed = np.abs(np.asarray(codec.decode(other) - codec.decode(tokens))).max((0, 3)) > 1e-6
    rows, columns = np.nonzero(changed)
    assert rows.min() >= 0 and rows.max() < 24 and columns.min() >= 8 and columns.max() < 32
    assert changed[:24, 8:].reshape(3, 8, 3, 8).any((1, 3)).all()


def test_gradients_pass_the_rounding(codec):
    def error(codec, images):
        quantized = quantize(codec.quantizer, codec.latents(images), CodebookConfig(), step=0, key=None)
        return jnp.square(codec.decode_latents(quantized.codes) - images).mean()

    gradient = jax.grad(error)(codec, pictures())
    assert float(jnp.abs(gradient.encoder.tower.first.kernel[...]).max()) > 0
    codes = quantize(codec.quantizer, codec.latents(pictures()), CodebookConfig(), step=0, key=None)
    np.testing.assert_allclose(codes.codes, codec.codes(codec.encode(pictures())), atol=1e-6)


def test_a_linear_encoder_keeps_distances_of_pixels():
    """With orthogonal columns, features are as far apart as what they see of the pixels."""
    codec = VQGAN(replace(CONFIG, network="linear", z_channels=48), ComputeConfig(), rngs=make_rngs(0))
    pixels = 8 * 8 * 3
    codec.encoder.linear.kernel[...] = jnp.eye(pixels)
    first, second = pictures(1), pictures(2)[1:]
    features = [np.asarray(codec.encoder(cells)) for cells in (first[:, :8, :8], second[:, :8, :8])]
    assert features[0].shape == (1, 2, 2, 48) and codec.encode(first).shape == (1, 64)
    expected = np.linalg.norm(np.asarray(first - second)[:, :8, :8])
    np.testing.assert_allclose(np.linalg.norm(features[0] - features[1]), expected, rtol=1e-5)


def test_cells_are_needed():
    with pytest.raises(ConfigError, match="needs encoder_window"):
        replace(CONFIG, encoder_window=None)
