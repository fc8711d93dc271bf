"""Bits per token of held-out batches."""

import math

import jax
import numpy as np
import pytest

from tests.training.toy import make_batch, make_config, make_frozen
from vqdiffusion_jax.random_keys import key_of
from vqdiffusion_jax.sharding import make_mesh
from vqdiffusion_jax.training.batch import filled
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


def test_samples_that_fill_a_batch_up_count_for_nothing():
    config = make_config("none")
    evaluate, frozen = make_evaluator(config.model, make_mesh(devices=jax.devices()[:1])), make_frozen(config)
    trained = fresh_networks(config)
    whole, short = make_batch(config, 0), {name: array[:3] for name, array in make_batch(config, 1).items()}
    padded = filled(short, 8)
    assert len(padded["tokens"]) == 8 and padded["weights"].tolist() == [1] * 3 + [0] * 5
    assert filled(short, 3) is short
    nats = [
        evaluate(trained, batch, frozen, jax.random.fold_in(key_of(0), number))[:size]
        for number, (batch, size) in enumerate([(whole, 8), (short, 3)])
    ]
    expected = np.concatenate(nats).mean() / math.log(2)
    assert bits_per_token(evaluate, trained, [whole, padded], frozen) == pytest.approx(expected, rel=1e-5)
