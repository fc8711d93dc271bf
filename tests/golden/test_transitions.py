import jax.numpy as jnp
import numpy as np
import pytest

from tests.golden.cases import Case, classes_last
from vqdiffusion_jax.diffusion import transitions
from vqdiffusion_jax.diffusion.schedule import make_schedule

TOLERANCE = 1e-4
MEANINGFUL = -60.0  # below it the reference holds floors and clamps, not probabilities


def assert_log_probs(ours, theirs):
    theirs = classes_last(theirs)
    assert ours.shape == theirs.shape
    seen = theirs > MEANINGFUL
    np.testing.assert_allclose(np.asarray(ours)[seen], theirs[seen], atol=TOLERANCE, rtol=0)
    assert np.all(np.asarray(ours)[~seen] <= MEANINGFUL + TOLERANCE)


@pytest.mark.cases("text", "class", "none", needs=("q/",))
def test_transitions(case: Case, model):
    num_codes = model.config.denoiser.num_codes
    schedule = make_schedule(model.config.schedule)
    x0, x_t, t = jnp.asarray(case["q/x0"]), jnp.asarray(case["q/x_t"]), case["q/t"]
    marginals, steps, jumps = schedule.marginals(), schedule.steps(), schedule.one_step_jumps()[t]

    one_hot = transitions.log_one_hot(x0, num_codes + 1)
    np.testing.assert_allclose(
        one_hot[: len(case["q/log_x0_onehot"])], classes_last(case["q/log_x0_onehot"]), atol=1e-5
    )

    assert_log_probs(transitions.forward_log_prob_tokens(x0, marginals[t], num_codes), case["q/q_pred"])
    assert_log_probs(transitions.forward_log_prob(one_hot[..., :num_codes], marginals[t]), case["q/q_pred"])
    assert_log_probs(transitions.forward_log_prob_tokens(x0, marginals[-1], num_codes), case["q/q_pred_tminus1"])
    one_step = transitions.forward_log_prob_tokens(x_t, steps[t], num_codes)
    masked = (x_t == num_codes)[:, :, None]
    # From [MASK] the reference's helper gives ln b for every code, which its posterior never reads; ours says never.
    helper = jnp.append(
        jnp.broadcast_to(steps[t].log_uniform[:, None, None], soft_shape(x_t, num_codes)),
        jnp.zeros((*x_t.shape, 1)),
        -1,
    )
    assert_log_probs(jnp.where(masked, helper, one_step), case["q/q_pred_one_timestep"])
    assert np.all(np.where(masked, one_step, -np.inf)[..., :num_codes] < MEANINGFUL)

    drawn = transitions.q_sample_with_uniforms(x0, marginals[t], jnp.asarray(classes_last(case["q/q_sample_u"])))
    np.testing.assert_array_equal(drawn, case["q/x_t"])

    soft = jnp.asarray(classes_last(case["q/log_p_x0"]))[..., :num_codes]
    assert_log_probs(transitions.posterior(one_hot[..., :num_codes], x_t, jumps), case["q/q_posterior_true"])
    assert_log_probs(transitions.posterior(soft, x_t, jumps), case["q/q_posterior_soft"])
    all_masked = jnp.full_like(x_t, num_codes)
    assert_log_probs(transitions.posterior(soft, all_masked, jumps), case["q/q_posterior_allmask"])


def soft_shape(tokens, num_codes: int) -> tuple[int, ...]:
    return (*tokens.shape, num_codes)
