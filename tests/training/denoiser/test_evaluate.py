"""Bits per token of held-out batches."""

import math

import jax

from tests.training.toy import make_batch, make_config, make_frozen
from vqdiffusion_jax.sharding import make_mesh
from vqdiffusion_jax.training.denoiser.evaluate import bits_per_token, make_evaluator
from vqdiffusion_jax.training.denoiser.state import fresh_networks


def test_repeats_itself_and_touches_nothing():
    config = make_config("text")
    evaluate, frozen = make_evaluator(config.model, make_mesh(devices=jax.devices()[:1])), make_frozen(config)
    trained = fresh_networks(config)
    batches = [make_batch(config, number) for number in (0, 1)]
    first = bits_per_token(evaluate, trained, batches, frozen)
    assert first == bits_per_token(evaluate, trained, batches, frozen)
    # An untrained network pays log2 K bits a masked token, and more for doubting tokens that are not masked.
    assert first > math.log2(config.model.denoiser.num_codes) - 0.1
