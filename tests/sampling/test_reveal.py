import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vqdiffusion_jax.sampling import default_counts, even_counts, reference_counts
from vqdiffusion_jax.sampling.reveal import choose_positions, purity, sharpen, split_count


@pytest.mark.parametrize(("num_timesteps", "revealed"), [(100, 1024), (50, 1014), (25, 1003), (10, 955)])
def test_reference_tables(num_timesteps, revealed):
    counts = reference_counts(num_timesteps)
    assert len(counts) == num_timesteps and sum(counts[1:]) == revealed


def test_the_table_for_few_tokens_a_call():
    assert reference_counts(100, 10)[:3] == (1, 6, 11) and reference_counts(100, 10)[-1] == 15
    assert reference_counts(100, 11)[:3] == (1, 10, 11) and reference_counts(100)[-1] == 11
    assert sum(reference_counts(100, 5)[1:]) == 1024


def test_no_table_is_a_clear_error():
    with pytest.raises(ValueError, match="even_counts"):
        reference_counts(30)
    with pytest.raises(ValueError, match="even_counts"):
        reference_counts(100, num_tokens=256)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 300), st.integers(1, 120), st.integers(1, 50))
def test_even_counts_reveal_every_token_once(num_tokens, num_timesteps, tokens_per_call):
    counts = even_counts(num_tokens, num_timesteps, tokens_per_call)
    assert len(counts) == num_timesteps and min(counts) >= 0
    assert sum(counts if num_timesteps == 1 else counts[1:]) == num_tokens
    if num_timesteps > 1:
        assert counts[0] == 0 and counts[-1] >= 1  # the first call always reveals
        assert max(counts[1:]) - min(counts[1:]) <= 2 * tokens_per_call


def test_even_counts_group_tokens():
    assert even_counts(16, 5) == (0, 4, 4, 4, 4)
    assert even_counts(16, 5, 8) == (0, 0, 8, 0, 8)
    assert sum(count > 0 for count in even_counts(256, 100, 10)) == 26
    with pytest.raises(ValueError, match="tokens_per_call"):
        even_counts(16, 5, 0)


def test_default_counts():
    assert default_counts(1024, 100, 5) == reference_counts(100, 5)
    assert default_counts(256, 100) == even_counts(256, 100)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 60), st.integers(1, 12))
def test_split_count_never_leaves_a_single_token(count, tokens_per_call):
    calls = split_count(count, tokens_per_call)
    assert sum(calls) == count and all(0 < n <= tokens_per_call + 1 for n in calls)
    if tokens_per_call > 1 and count > 1:
        assert 1 not in calls


def test_split_count_without_limit():
    assert split_count(7, None) == [7] and split_count(0, None) == [] and split_count(4, 1) == [1, 1, 2]


@pytest.mark.parametrize("count", [0, 1, 3, 9])
def test_choose_positions_is_exact_and_never_more_than_masked(count):
    keys = jax.random.split(jax.random.key(count), 3)
    masked = jax.random.bernoulli(keys[0], 0.5, (40, 8))
    score = jax.random.uniform(keys[1], (40, 8), minval=0.1)
    chosen = np.asarray(choose_positions(score, masked, jnp.int32(count), jax.random.exponential(keys[2], (40, 8))))
    assert not (chosen & ~np.asarray(masked)).any()
    np.testing.assert_array_equal(chosen.sum(1), np.minimum(count, np.asarray(masked).sum(1)))


def test_choose_positions_draws_in_proportion_to_score():
    score = np.asarray([0.5, 0.3, 0.15, 0.05])
    exponential = jax.random.exponential(jax.random.key(0), (40_000, 4))
    both = np.asarray(
        choose_positions(jnp.broadcast_to(score, (40_000, 4)), jnp.ones((40_000, 4), bool), jnp.int32(2), exponential)
    )
    # Without replacement: i first, or j first and then i.
    expected = score + sum(np.where(np.arange(4) == j, 0, score[j] * score / (1 - score[j])) for j in range(4))
    np.testing.assert_allclose(both.mean(0), expected, atol=0.012)


def test_purity_and_sharpening():
    log_x0 = jnp.log(jnp.asarray([[[0.5, 0.3, 0.2], [0.8, 0.1, 0.1]]]))
    score = purity(log_x0)
    np.testing.assert_allclose(score, [[0.625, 1.0]], rtol=1e-6)
    sharp = np.exp(sharpen(log_x0, score, 1.0))
    expected = np.asarray([0.5, 0.3, 0.2]) ** 1.625
    np.testing.assert_allclose(sharp[0, 0], expected / expected.sum(), rtol=1e-5)
    np.testing.assert_allclose(sharpen(log_x0, score, 0.0), log_x0, atol=1e-6)
