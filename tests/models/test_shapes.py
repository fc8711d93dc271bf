"""A network is the same whether flax counts its keys or we do, and its shapes are found once."""

import jax
import numpy as np
from flax import nnx

from vqdiffusion_jax.models.denoiser import Denoiser
from vqdiffusion_jax.models.shapes import Keys, shapes_of
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


class Counted(nnx.Module):
    """A layer as wide as ``width``; ``made`` counts how often one is built."""

    made = 0

    def __init__(self, width, *, rngs):
        Counted.made += 1
        self.width, self.layer = width, nnx.Linear(2, int(width), rngs=rngs)


class Wide(nnx.Module):
    """A number of Python's own kind, as wide as JAX makes it."""

    def __init__(self, *, rngs):
        self.number = nnx.Param(jax.numpy.zeros((), float))


def test_shapes_are_those_of_the_types_in_use():
    for _ in range(2):
        assert shapes_of(Wide).number.dtype == "float32"
        with jax.enable_x64(True):
            assert shapes_of(Wide).number.dtype == "float64"


def test_shapes_are_found_once_and_each_call_has_modules_of_its_own():
    before = Counted.made
    first, second = shapes_of(Counted, 3), shapes_of(Counted, 3)
    assert Counted.made == before + 1 and jax.tree.structure(first) == jax.tree.structure(second)
    first.width, first.layer.kernel = None, None
    assert second.width == 3 and second.layer.kernel.shape == (2, 3)
    first.layer.more = nnx.Param(jax.numpy.zeros(1))
    assert shapes_of(Counted, 3).layer.kernel.shape == (2, 3)
    assert jax.tree.structure(shapes_of(Counted, 3)) == jax.tree.structure(second)
    assert type(shapes_of(Counted, 3.0).width) is float and type(shapes_of(Counted, 3).width) is int
    assert shapes_of(Counted, np.array(4)).layer.kernel.shape == (2, 4)  # which has no hash
