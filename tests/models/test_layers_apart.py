"""Layers that are not scanned: within the loop over calls each has arrays of its own, so that a GPU copies none."""

import jax
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from benchmarks._step import request_of
from tests.networks import random_network
from vqdiffusion_jax import ComputeConfig, VQDiffusionPipeline, preset
from vqdiffusion_jax.generation import advance, prepare
from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel


def model_of(scan_layers, **compute):
    return random_network(VQDiffusionModel, preset("tiny_text"), ComputeConfig(scan_layers=scan_layers, **compute))


def tokens_of(model):
    settings = dict(num_inference_steps=3, guidance_scale=2.0, truncation_rate=0.9, seed=1, output_type="tokens")
    return VQDiffusionPipeline(model)("a dog", num_images_per_prompt=2, **settings).tokens


def loops_of(jaxpr):
    """Return the equations of all loops in a jaxpr, those within others too."""
    for equation in jaxpr.eqns:
        for inner in jaxprs_in_params(equation.params):
            if equation.primitive.name in ("while", "scan"):
                yield equation
            yield from loops_of(inner)


def taken_by_loops(model):
    """Return the shapes of all arrays that the loops of a run take from outside them."""
    request = request_of(model, 2, 3)
    prepared = jax.eval_shape(prepare, model, request)
    whole = jax.make_jaxpr(advance)(model, prepared, request).jaxpr
    return {variable.aval.shape for loop in loops_of(whole) for variable in loop.invars}


@pytest.mark.parametrize("fp8", [False, True])
def test_tokens_are_the_same(fp8):
    np.testing.assert_array_equal(tokens_of(model_of(False, fp8=fp8)), tokens_of(model_of(True, fp8=fp8)))


def test_loops_take_no_stack_of_weights_where_layers_are_apart():
    apart, scanned = model_of(False), model_of(True)
    stack = scanned.denoiser.blocks.mlp.up.kernel.shape
    assert stack in taken_by_loops(scanned)
    taken = taken_by_loops(apart)
    assert stack not in taken and stack[1:] in taken
