import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sampling.toy import NOISY, RELEASED
from vqdiffusion_jax.config import ScheduleConfig
from vqdiffusion_jax.diffusion import make_schedule
from vqdiffusion_jax.sampling import Ancestral, FewerTokens, PurityPrior, ReferenceFast, strategy_from_infer_speed

HUNDRED = make_schedule(ScheduleConfig(num_codes=8))


def _same(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


def test_every_timestep_is_the_one_step_table_reversed():
    schedule = make_schedule(NOISY)
    plan = Ancestral().plan(schedule, 4)
    np.testing.assert_array_equal(plan.timestep, np.arange(9, -1, -1))
    _same(plan.jump, schedule.one_step_jumps()[np.arange(9, -1, -1)])
    assert len(plan) == 10 and not plan.reveal.any()
    _same(Ancestral(num_inference_steps=10).plan(schedule, 4), plan)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 99), st.data())
def test_strides_are_even_and_end_at_zero(first, data):
    count = data.draw(st.integers(1, first + 1))
    t = Ancestral(num_inference_steps=count, first_timestep=first).plan(HUNDRED, 4).timestep
    assert len(t) == count and t[0] == first and (count == 1 or t[-1] == 0)
    gaps = -np.diff(t)
    assert (gaps >= 1).all() and (count < 3 or gaps.max() - gaps.min() <= 1)


def test_first_timestep_alone_means_one_step_a_timestep():
    np.testing.assert_array_equal(Ancestral(first_timestep=4).plan(HUNDRED, 4).timestep, [4, 3, 2, 1, 0])


def test_explicit_timesteps():
    plan = Ancestral(timesteps=(90, 40, 3)).plan(HUNDRED, 4)
    np.testing.assert_array_equal(plan.timestep, [90, 40, 3])
    _same(plan.jump, HUNDRED.jumps(np.asarray([90, 40, 3]), np.asarray([40, 3, -1])))


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Ancestral(num_inference_steps=0).plan(HUNDRED, 4), "num_inference_steps is 0"),
        (lambda: Ancestral(num_inference_steps=101).plan(HUNDRED, 4), "1 to 100 steps"),
        (lambda: Ancestral(first_timestep=100).plan(HUNDRED, 4), "first_timestep is 100"),
        (lambda: Ancestral(timesteps=(3, 3)), "strictly decrease"),
        (lambda: Ancestral(timesteps=()), "timesteps is \\(\\); it must be one or more values"),
        (lambda: Ancestral(timesteps=(120, 3)).plan(HUNDRED, 4), "from 99 down to 0"),
        (
            lambda: Ancestral(num_inference_steps=3, timesteps=(3, 1)),
            "timesteps and num_inference_steps are both given",
        ),
        (lambda: ReferenceFast(0), "at least 1"),
        (lambda: FewerTokens(counts=(1, -1)), "whole number of at least 0"),
        (lambda: FewerTokens(tokens_per_call=0), "tokens_per_call is 0"),
        (lambda: FewerTokens(counts=(1, 2)).plan(HUNDRED, 4), "has 2 entries"),
        (lambda: PurityPrior(-1.0), "weight"),
        (lambda: strategy_from_infer_speed(0.05), "use 0.1 or more"),
        (lambda: strategy_from_infer_speed(-1), "infer_speed"),
        (lambda: strategy_from_infer_speed(0, prior_rule=3), "prior_rule"),
    ],
)
def test_errors_name_what_is_wrong(make, match):
    with pytest.raises(ValueError, match=match) as error:
        make()
    assert "\n" not in str(error.value)


def test_reference_fast_takes_the_one_step_table_at_t_minus_skip():
    plan = ReferenceFast(2).plan(make_schedule(RELEASED), 4)
    np.testing.assert_array_equal(plan.timestep, [9, 6, 3, 0])
    _same(plan.jump, make_schedule(RELEASED).one_step_jumps()[np.asarray([7, 4, 1, 0])])
    assert list(ReferenceFast(1).plan(make_schedule(RELEASED), 4).timestep) == [9, 7, 5, 3, 1, 0]


def test_reveal_plans():
    schedule = make_schedule(RELEASED)
    plan = FewerTokens(counts=(1, 1, 1, 4, 1, 1, 3, 1, 1, 2), tokens_per_call=1).plan(schedule, 16)
    np.testing.assert_array_equal(plan.timestep, [9, 8, 7, 6, 6, 5, 4, 3, 3, 3, 2, 1, 0])
    np.testing.assert_array_equal(plan.reveal, [2, 1, 1, 1, 2, 1, 1, 1, 1, 2, 1, 1, 0])
    _same(PurityPrior(1.0, plan_counts := (0, 2) * 5).plan(schedule, 16), FewerTokens(plan_counts).plan(schedule, 16))
    assert FewerTokens().plan(schedule, 9).reveal.tolist() == [1] * 9 + [0]


@pytest.mark.parametrize(
    ("speed", "calls"),
    [
        (False, 100),
        (0, 100),
        (0.99, 134),
        (0.9, 134),
        (0.7, 198),
        (0.5, 199),
        (0.3, 332),
        (0.25, 496),
        (0.2, 496),
        (0.1, 926),
        (1, 100),
        (1.9, 100),
        (2, 51),
        (2.5, 51),
        (3, 34),
        (4, 26),
        (5, 21),
        (10, 11),
    ],
)
def test_infer_speed_makes_the_reference_number_of_network_calls(speed, calls):
    assert len(strategy_from_infer_speed(speed).plan(HUNDRED, 1024)) == calls


def test_infer_speed_and_prior_rule():
    assert strategy_from_infer_speed(0) == Ancestral()
    assert strategy_from_infer_speed(0.5) == FewerTokens(tokens_per_call=5)
    assert strategy_from_infer_speed(0.5, 2, 1.0) == PurityPrior(1.0, tokens_per_call=5)
    assert strategy_from_infer_speed(False, 2, 0.5) == PurityPrior(0.5)
    assert strategy_from_infer_speed(3, 2, 0.5) == ReferenceFast(2)


def test_strategies_are_pytrees_and_a_new_weight_recompiles_nothing():
    traces = []

    @jax.jit
    def run(strategy):
        traces.append(strategy)
        return 1.0 * getattr(strategy, "purity_weight", 0.0)

    assert run(PurityPrior(1.0)) == 1.0 and run(PurityPrior(0.5)) == 0.5
    assert len(traces) == 1
    run(Ancestral())
    assert len(traces) == 2
