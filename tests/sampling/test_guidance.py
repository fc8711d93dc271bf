import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqdiffusion_jax.sampling import Guidance, combine, paired_logits, pairs, predictor


def _log_probs(seed, shape=(2, 3, 7)):
    return jax.nn.log_softmax(jax.random.normal(jax.random.key(seed), shape) * 3)


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0, 5.0])
def test_combine_follows_the_formula_in_float64(scale):
    cond, null = np.asarray(_log_probs(0), np.float64), np.asarray(_log_probs(1), np.float64)
    mixed = null + scale * (cond - null)
    expected = np.clip(mixed - np.log(np.exp(mixed).sum(-1, keepdims=True)), -70, 0)
    np.testing.assert_allclose(combine(_log_probs(0), _log_probs(1), scale), expected, atol=2e-5)


def test_combine_of_floored_inputs_is_finite_and_normalised():
    cond = jnp.asarray([[0.0, -70.0, -70.0]])
    null = jnp.asarray([[-70.0, 0.0, -70.0]])
    out = np.asarray(combine(cond, null, 7.5))
    assert np.isfinite(out).all() and out.min() >= -70
    np.testing.assert_allclose(np.exp(out).sum(), 1.0, atol=1e-6)


def combined_in_numpy(cond, null, scale, plausibility):
    """The constraint of contrastive decoding in float64, code by code."""
    cond, null = (np.exp(np.asarray(one, np.float64)) for one in (cond, null))
    kept = cond >= plausibility * cond.max(-1, keepdims=True)
    weight = np.where(kept, null * (cond / null) ** scale, 0.0)
    return np.where(kept, weight / weight.sum(-1, keepdims=True), 0.0)


@pytest.mark.parametrize("plausibility", [1e-3, 0.05, 0.5, 1.0])
@pytest.mark.parametrize("scale", [0.5, 3.0, 8.0])
def test_implausible_codes_are_dropped_before_guidance(scale, plausibility):
    out = np.asarray(combine(_log_probs(0), _log_probs(1), scale, plausibility))
    expected = combined_in_numpy(_log_probs(0), _log_probs(1), scale, plausibility)
    assert 0 < (expected == 0).sum() < expected.size or plausibility == 1e-3
    np.testing.assert_array_equal(out[expected == 0], -70.0)
    np.testing.assert_allclose(np.exp(out), expected, atol=1e-6)


def test_a_code_that_both_hold_for_unlikely_wins_only_without_the_constraint():
    """At scale 8 the ratio of two tails outweighs all else."""
    cond, null = (jnp.log(jnp.asarray(p)) for p in ([0.6, 0.39999, 1e-5], [0.5, 0.49999, 1e-8]))
    assert np.argmax(combine(cond, null, 8.0)) == 2
    assert np.argmax(combine(cond, null, 8.0, 0.01)) == 0


def test_the_constraint_keeps_what_is_no_number():
    """A picture whose logits are NaN is refused later, and so must not become one like any other."""
    rows = _log_probs(0).at[0, 1, 2].set(jnp.nan)
    for cond, null in ((rows, _log_probs(1)), (_log_probs(1), rows)):
        out = np.asarray(combine(cond, null, 3.0, 0.1))
        assert np.isnan(out[0, 1, 0]) and np.isfinite(out[1]).all()


def test_plausibility_acts_where_guidance_does():
    """Outside the interval, and at scale 1, the conditional forward is left alone."""
    forward, cond, null = _paired()
    tokens, logits_fn = jnp.asarray([[0, 1, 2], [3, 0, 1]]), paired_logits(forward, cond, pairs(cond, null))

    def dropped(guidance, timestep):
        return bool((predictor(logits_fn, guidance)(tokens, jnp.int32(timestep)) == -70.0).any())

    assert dropped(Guidance(3.0, (2, 4), 0.5), 3) and not dropped(Guidance(3.0, (2, 4), 0.5), 1)
    assert not dropped(Guidance(3.0, (2, 4)), 3) and not dropped(Guidance(1.0, plausibility=0.5), 3)


def test_another_plausibility_recompiles_nothing():
    traces = []

    @jax.jit
    def run(guidance):
        traces.append(guidance.plausibility is None)
        return combine(_log_probs(0), _log_probs(1), guidance.scale, guidance.plausibility)

    one, other = run(Guidance(3.0, plausibility=0.1)), run(Guidance(3.0, plausibility=0.9))
    assert traces == [False] and np.any(one != other)
    assert (np.asarray(run(Guidance(3.0))) > -70.0).all()
    assert traces == [False, True]


def test_active_is_decided_by_the_reference_tolerance():
    assert not Guidance().active and not Guidance(1.0005).active
    assert Guidance(1.002).active and Guidance(0.5).active and Guidance(5).active


def test_bad_values_are_refused():
    with pytest.raises(ValueError, match="interval"):
        Guidance(3.0, (5, 2))
    with pytest.raises(ValueError, match="finite"):
        Guidance(float("nan"))
    for plausibility in (0.0, -0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match="plausibility"):
            Guidance(3.0, plausibility=plausibility)


def test_guidance_is_a_pytree_and_a_new_scale_recompiles_nothing():
    traces = []

    @jax.jit
    def run(guidance):
        traces.append(guidance.active)
        return combine(_log_probs(0), _log_probs(1), guidance.scale)

    strong, stronger = run(Guidance(3.0)), run(Guidance(5.0))
    assert traces == [True] and not np.allclose(strong, stronger)
    run(Guidance(1.0))
    assert traces == [True, False]


def test_inactive_guidance_runs_no_null_forward():
    calls = []

    def logits_fn(tokens, timestep, guided):
        calls.append(guided)
        return jnp.zeros((*tokens.shape, 4)), None

    tokens = jnp.zeros((2, 3), jnp.int32)
    predictor(logits_fn)(tokens, jnp.int32(0))
    predictor(logits_fn, Guidance(1.0, (0, 5)))(tokens, jnp.int32(0))
    assert calls == [False, False]


def _paired():
    """The doubled forward keeps conditional and null conditioning, here biases of each sample, apart."""

    def forward(tokens, timestep, bias):
        return bias[:, None, :] + jax.nn.one_hot(tokens, 4) * (1.0 + timestep)

    cond, null = jax.random.normal(jax.random.key(0), (2, 2, 4))
    return forward, cond, null


def test_paired_logits_equal_two_forwards():
    forward, cond, null = _paired()
    tokens = jnp.asarray([[0, 1, 2], [3, 0, 1]])
    both = paired_logits(forward, cond, pairs(cond, null))
    got_cond, got_null = both(tokens, jnp.int32(3), True)
    np.testing.assert_allclose(got_cond, forward(tokens, 3, cond))
    np.testing.assert_allclose(got_null, forward(tokens, 3, null))
    only, nothing = both(tokens, jnp.int32(3), False)
    np.testing.assert_allclose(only, got_cond)
    assert nothing is None
    with pytest.raises(ValueError, match="no null condition"):
        paired_logits(forward, cond)(tokens, jnp.int32(3), True)


def test_interval_is_inclusive_and_traced():
    forward, cond, null = _paired()
    tokens = jnp.asarray([[0, 1, 2], [3, 0, 1]])
    logits_fn = paired_logits(forward, cond, pairs(cond, null))
    traces = []

    @jax.jit
    def run(guidance, t):
        traces.append(1)
        return predictor(logits_fn, guidance)(tokens, t)

    for t in range(6):
        guided = run(Guidance(3.0, (2, 4)), t)
        expected = predictor(logits_fn, Guidance(3.0) if 2 <= t <= 4 else None)(tokens, jnp.int32(t))
        np.testing.assert_allclose(guided, expected, atol=1e-6)
    run(Guidance(4.0, (1, 1)), 3)
    assert len(traces) == 1
