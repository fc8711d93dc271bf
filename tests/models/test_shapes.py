"""A network is the same whether flax counts its keys or we do."""

import jax
import numpy as np
from flax import nnx

from vqdiffusion_jax.models.denoiser import Denoiser
from vqdiffusion_jax.models.shapes import Keys
from vqdiffusion_jax.presets import preset


def test_the_numbers_of_flax():
    for seed in (3, jax.random.key(5)):
        ours, theirs = Keys(seed), nnx.Rngs(seed)
        for _ in range(3):
            assert jax.random.key_data(ours.params()).tolist() == jax.random.key_data(theirs.params()).tolist()


def test_a_whole_network():
    config = preset("tiny_text").denoiser
    ours, theirs = (jax.jit(lambda keys=keys: Denoiser(config, rngs=keys(3)))() for keys in (Keys, nnx.Rngs))
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)
