import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vqdiffusion_jax.sampling import Guidance, TopK, TopR, combine, predictor


@pytest.fixture(autouse=True, scope="module", params=["cpu", "accelerator"])
def form(request):
    """Run a test with the code for a CPU and with that for an accelerator."""
    if request.param == "cpu":
        yield request.param
        return
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(
            "vqdiffusion_jax.sampling.truncation.jax.lax.platform_dependent",
            lambda *state, cpu, default: default(*state),
        )
        yield request.param


def _sorted_reference(log_x0, rate):
    """Truncate one row the plain way: sort, sum in float32, keep the entry that crosses."""
    order = np.argsort(-log_x0, kind="stable")
    total = np.cumsum(np.exp(log_x0[order]), dtype=np.float32)
    keep = np.concatenate([[True], total[:-1] < np.float32(rate)])
    out = np.full_like(log_x0, -70.0)
    out[order[keep]] = log_x0[order[keep]]
    return out


def test_the_entry_that_crosses_the_rate_is_kept():
    log_x0 = jnp.log(jnp.asarray([0.1, 0.5, 0.04, 0.3, 0.06]))
    np.testing.assert_allclose(TopR(0.86)(log_x0), np.log([0.1, 0.5, 1, 0.3, 1]) + [0, 0, -70, 0, -70], rtol=1e-6)


def _row_cases():
    """Return hard rows of 300 codes by name: unnormalised log p, float64."""
    draw = np.random.default_rng(0)
    k = 300
    return {
        "random": draw.normal(size=(40, k)) * 3,
        "peaked": np.where(np.arange(k) == draw.integers(0, k, (20, 1)), 20.0, draw.normal(size=(20, k))),
        "certain": np.where(np.arange(k) == 7, 0.0, np.full((1, k), -200.0)),
        "flat": np.zeros((1, k)),
        "nearly flat": draw.normal(size=(10, k)) * 1e-6,
        "tied in pairs": np.repeat(draw.normal(size=(20, k // 2)) * 2, 2, axis=1),
        "tied in blocks": draw.integers(0, 4, (20, k)).astype(float),
        "two halves": np.where(np.arange(k) < 2, 30.0, 0.0)[None],
        "geometric": -np.log(2.0) * np.arange(k)[None],
        "neighbours in float32": -5.0 - np.arange(k)[None] * np.spacing(np.float32(5)),
    }


@pytest.mark.parametrize("rate", [0.05, 0.5, 0.86, 0.999, 1.0])
def test_cut_without_sorting_keeps_what_sorting_keeps(rate):
    """Compare row by row; where a float64 sum crosses ``rate`` within rounding, one entry more or fewer is right."""
    for name, rows in _row_cases().items():
        log_x0 = np.maximum(np.asarray(jax.nn.log_softmax(jnp.asarray(rows, jnp.float32))), -70)
        for row, out in zip(log_x0, np.asarray(TopR(rate)(jnp.asarray(log_x0)))):
            kept = out > -70
            order = np.argsort(-row, kind="stable")
            assert (np.diff(kept[order].astype(int)) <= 0).all() and kept.any(), (
                f"{name}: not a prefix of the sorted row"
            )
            np.testing.assert_array_equal(out[kept], row[kept])
            total = np.cumsum(np.exp(row[order].astype(np.float64)))
            allowed = [1 + np.sum(total[:-1] < rate + slack) for slack in (-1e-6, 1e-6)]
            assert min(allowed) <= kept.sum() <= max(allowed), name


def test_only_the_tie_at_the_cut_is_split():
    log_x0 = jnp.log(jnp.asarray([[0.1, 0.3, 0.1, 0.1, 0.3, 0.1]]))
    np.testing.assert_array_equal(np.asarray(TopR(0.75)(log_x0))[0] > -70, [1, 1, 1, 0, 1, 0])
    np.testing.assert_array_equal(np.asarray(TopK(1)(log_x0))[0] > -70, [0, 1, 0, 0, 0, 0])
    np.testing.assert_array_equal(np.asarray(TopK(4)(log_x0))[0] > -70, [1, 1, 1, 0, 1, 0])


def test_no_sort_is_compiled():
    log_x0 = jax.ShapeDtypeStruct((2, 3, 40), jnp.float32)
    for truncation in (TopR(0.86), TopK(5)):
        assert "sort" not in jax.jit(truncation).lower(log_x0).as_text()


def test_accelerators_are_not_asked_whether_they_are_done(form):
    traced = jax.jit(TopR(0.86)).trace(jax.ShapeDtypeStruct((2, 3, 40), jnp.float32))
    programs = {platform: traced.lower(lowering_platforms=(platform,)).as_text() for platform in ("cpu", "cuda")}
    asked = {
        platform: tuple(text.count(f"applies stablehlo.{how}") for how in ("and", "or"))
        for platform, text in programs.items()
    }
    assert asked == {"cpu": (int(form == "cpu"), 1), "cuda": (0, 1)}, (
        "all are asked at every turn of a CPU's search; any, once, for a tie"
    )


def test_any_floats_are_ordered():
    """The search over int32 images of float32 also finds positive numbers, both zeros and infinities."""
    row = jnp.asarray([[3.0, -jnp.inf, 0.0, -2.5, 1e-30, -0.0, 70.0]])
    for k, kept in ((1, [6]), (2, [0, 6]), (3, [0, 4, 6]), (6, [0, 2, 3, 4, 5, 6])):
        np.testing.assert_array_equal(np.flatnonzero(np.asarray(TopK(k)(row))[0] != -70), kept)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000), rate=st.sampled_from([0.01, 0.3, 0.86, 0.94]), spread=st.sampled_from([0.1, 1.0, 6.0])
)
def test_top_r_matches_the_sorted_definition(seed, rate, spread):
    log_x0 = np.asarray(jax.nn.log_softmax(jax.random.normal(jax.random.key(seed), (3, 4, 23)) * spread))
    expected = np.stack([_sorted_reference(row, rate) for row in log_x0.reshape(-1, 23)]).reshape(log_x0.shape)
    np.testing.assert_array_equal(TopR(rate)(log_x0), expected)


def test_the_mask_row_of_the_reference_does_not_matter():
    log_x0 = np.asarray(jax.nn.log_softmax(jax.random.normal(jax.random.key(1), (64, 40)) * 4))
    with_mask = np.concatenate([log_x0, np.full((64, 1), -70.0, np.float32)], axis=1)
    for rate in (0.5, 0.86, 0.99):
        np.testing.assert_array_equal(TopR(rate)(with_mask)[:, :-1], TopR(rate)(log_x0))


def test_ties_are_broken_by_index_and_the_count_is_exact():
    flat = jnp.full((2, 8), np.log(1 / 8), jnp.float32)
    for kept, out in ((4, TopR(0.5)(flat)), (1, TopR(0.1)(flat)), (3, TopK(3)(flat))):
        np.testing.assert_array_equal(np.asarray(out)[0] > -70, np.arange(8) < kept)


@pytest.mark.parametrize("truncation", [TopR(0.5), TopK(3)])
def test_rows_of_nan_end_the_search_and_leave_other_rows_alone(truncation):
    rows = jax.nn.log_softmax(jax.random.normal(jax.random.key(0), (2, 3, 16)))
    cut = jax.jit(truncation)
    for bad in (jnp.nan, -jnp.nan):
        for spoilt in (rows.at[0, 1].set(bad), rows.at[0, 1, 3].set(bad), rows.at[0, 1, ::2].set(bad)):
            np.testing.assert_array_equal(cut(spoilt)[1], cut(rows)[1])


def test_rate_one_keeps_all():
    log_x0 = jax.nn.log_softmax(jax.random.normal(jax.random.key(0), (50, 400)) * 3)
    np.testing.assert_array_equal(TopR(1.0)(log_x0), log_x0)
    np.testing.assert_array_equal(jax.jit(lambda rate: TopR(rate)(log_x0))(1.0), log_x0)


def test_another_rate_is_another_truncation():
    assert not dataclasses.replace(TopR(1.0), rate=0.5).keeps_all and dataclasses.replace(TopR(0.5), rate=1.0).keeps_all


def test_a_new_rate_recompiles_nothing():
    traces = []

    @jax.jit
    def run(truncation, log_x0):
        traces.append(1)
        return truncation(log_x0)

    log_x0 = jax.nn.log_softmax(jnp.arange(6.0))
    assert (np.asarray(run(TopR(0.2), log_x0)) > -70).sum() == 1
    assert (np.asarray(run(TopR(0.9), log_x0)) > -70).sum() == 3
    assert len(traces) == 1


def test_top_k():
    log_x0 = jax.nn.log_softmax(jax.random.normal(jax.random.key(0), (5, 9)))
    out = np.asarray(TopK(2)(log_x0))
    assert ((out > -70).sum(-1) == 2).all() and (out.max(-1) == np.asarray(log_x0).max(-1)).all()
    np.testing.assert_array_equal(TopK(9)(log_x0), log_x0)
    np.testing.assert_array_equal(TopK(90)(log_x0), log_x0)


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.01, float("nan")])
def test_rates_outside_are_refused(rate):
    with pytest.raises(ValueError, match=r"TopR.rate .* \(0, 1\]"):
        TopR(rate)


@pytest.mark.parametrize("k", [0, -1, 1.5, True])
def test_bad_k_is_refused(k):
    with pytest.raises(ValueError, match="TopK.k"):
        TopK(k)


def test_order_is_guidance_then_truncation():
    cond, null = jax.random.normal(jax.random.key(0), (2, 2, 3, 11))
    tokens = jnp.zeros((2, 3), jnp.int32)
    out = predictor(lambda *_: (cond, null), Guidance(3.0), TopR(0.7))(tokens, jnp.int32(0))
    expected = TopR(0.7)(combine(jax.nn.log_softmax(cond), jax.nn.log_softmax(null), 3.0))
    np.testing.assert_allclose(out, expected, atol=1e-6)
    assert (np.exp(np.asarray(out)).sum(-1) < 1.0).all()  # not renormalised
