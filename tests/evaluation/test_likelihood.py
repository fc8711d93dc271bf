"""The bound in bits a token against a sum over every state of a toy, and its indifference to batches and shards."""

import itertools
import json
import math

import numpy as np
import pytest

from tests.evaluation.toy import CODES, SCHEDULE, STEPS, TOKENS, toy_model
from tests.processes import run_on_devices
from vqdiffusion_jax.batching import in_batches
from vqdiffusion_jax.errors import EvaluationError
from vqdiffusion_jax.evaluation.likelihood import make_terms, summarise


@pytest.fixture(scope="module")
def model():
    return toy_model()


def matrices():
    """Explicit one-step matrices Q_t[from, to] and their products, in float64, from the schedule's end points alone."""
    share = np.arange(STEPS) / (STEPS - 1)
    keep = np.append(1.0, SCHEDULE.keep_start + share * (SCHEDULE.keep_end - SCHEDULE.keep_start))
    mask = np.append(0.0, SCHEDULE.mask_start + share * (SCHEDULE.mask_end - SCHEDULE.mask_start))
    steps, whole = [], [np.eye(CODES + 1)]
    for t in range(1, STEPS + 1):
        a, c = keep[t] / keep[t - 1], 1 - (1 - mask[t]) / (1 - mask[t - 1])
        step = np.zeros((CODES + 1, CODES + 1))
        step[:CODES, :CODES] = a * np.eye(CODES) + (1 - a - c) / CODES
        step[:CODES, CODES], step[CODES, CODES] = c, 1.0
        steps.append(step)
        whole.append(whole[-1] @ step)
    return steps, whole


def enumerated(model, x0):
    """(prior, terms by timestep) in nats, every x_t weighted by its probability."""
    steps, whole = matrices()
    states = np.array(list(itertools.product(range(CODES + 1), repeat=TOKENS)), np.int32)
    terms = []
    for t in range(STEPS):
        logits = np.asarray(model.denoiser(states, np.full(len(states), t, np.int32)), np.float64)
        p_x0 = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        probability = np.prod(whole[t + 1][x0, states], axis=1)
        total = 0.0
        for place in range(TOKENS):
            x_t = states[:, place]
            if t == 0:
                total += probability @ -np.log(p_x0[:, place, x0[place]])
                continue
            # q(x_{t-1} = j | x_t, x_0 = k) by Bayes' rule, (state, k, j)
            joint = whole[t][None, :CODES, :] * steps[t][:, x_t].T[:, None, :]
            posterior = joint / joint.sum(-1, keepdims=True)
            true, guess = posterior[:, x0[place]], np.einsum("sk,skj->sj", p_x0[:, place], posterior)
            ratio = np.where(true > 0, np.log(np.where(true > 0, true, 1.0) / np.where(guess > 0, guess, 1.0)), 0.0)
            total += probability @ (true * ratio).sum(-1)
        terms.append(total)
    last = whole[STEPS][0]
    prior = np.append(np.full(CODES, (1 - last[CODES]) / CODES), last[CODES])
    return TOKENS * float((last * np.log(last / prior)).sum()), np.array(terms)


def test_bound_is_the_sum_over_all_states(model):
    x0 = np.array([0, 1, 1, 0])
    prior, expected = enumerated(model, x0)
    count = 3000
    tokens = np.tile(x0, (count, 1)).astype(np.int32)
    nats = np.asarray(make_terms(model, seed=1, draws=4)({"tokens": tokens}, np.arange(count)))
    error = nats.std(0, ddof=1) / math.sqrt(count)
    assert nats.shape == (count, STEPS) and error.sum() < 0.02 * expected.sum()
    np.testing.assert_array_less(np.abs(nats.mean(0) - expected), 4.5 * error + 1e-4)
    found = summarise(nats, model)
    bits = (prior + expected.sum()) / (TOKENS * math.log(2))
    assert found.prior == pytest.approx(prior / (TOKENS * math.log(2)), rel=1e-4)
    assert abs(found.bits_per_token - bits) < 4.5 * found.standard_error
    assert found.prior + found.by_timestep.sum() == pytest.approx(found.bits_per_token, rel=1e-12)


def test_batches_change_nothing(model):
    tokens = np.random.default_rng(0).integers(0, CODES, (12, TOKENS), dtype=np.int32)
    terms, numbers = make_terms(model, seed=3), np.arange(12)
    whole = np.asarray(terms({"tokens": tokens}, numbers))
    for order, batch in ((numbers, 4), (numbers, 5), (numbers[::-1], 12)):
        found = in_batches(lambda part: terms(*part), ({"tokens": tokens[order]}, order), batch)
        np.testing.assert_allclose(found, whole[order], rtol=2e-5, atol=1e-6)
    assert np.abs(make_terms(model, seed=4)({"tokens": tokens}, numbers) - whole).max() > 1e-2


def test_shards_change_nothing_and_each_device_computes_its_own(tmp_path):
    done = run_on_devices(4, "tests/evaluation/sharded_rows.py", tmp_path / "rows.npz")
    assert done.returncode == 0, done.stderr
    shares, rows = json.loads(done.stdout.splitlines()[-1]), np.load(tmp_path / "rows.npz")
    for mesh, devices in (("one", 1), ("data", 4), ("mixed", 4)):
        assert shares[mesh] == {
            "_terms": [2 * devices, 2],
            "_answers": [2 * devices, 2],
            "_features": [50 * devices, 50],
        }
        np.testing.assert_allclose(rows[f"{mesh} nats"], rows["one nats"], rtol=2e-5, atol=1e-6)
        np.testing.assert_allclose(rows[f"{mesh} features"], rows["one features"], rtol=2e-5, atol=1e-6)
        np.testing.assert_array_equal(rows[f"{mesh} concept"], rows["one concept"])
    assert (
        rows["one nats"].shape == (11, STEPS)
        and rows["one nats"].std(0).min() > 1e-3
        and rows["one features"].std(0).max() > 1e-3
    )


def test_a_bound_that_is_not_finite_is_told(model):
    with pytest.raises(EvaluationError, match="bound of 1 of 3 examples is not finite"):
        summarise(np.array([[1.0, 2.0], [np.nan, 1.0], [0.0, 1.0]]), model)
