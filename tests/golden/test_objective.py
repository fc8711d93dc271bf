import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.golden.cases import Case, classes_last
from tests.golden.loading import clip_in, gradient_names, training_condition, with_null
from tests.golden.test_transitions import assert_log_probs
from vqdiffusion_jax.diffusion import timesteps, transitions
from vqdiffusion_jax.diffusion.objectives import variational
from vqdiffusion_jax.diffusion.schedule import make_schedule
from vqdiffusion_jax.models.clip import text_embedding


@functools.cache
def computed(case: Case, model):
    """Return ((the loss of the recorded training batch, (x_t, log p(x_0 | x_t), terms)), its gradients)."""

    @jax.jit
    def both(denoiser):
        return jax.value_and_grad(lambda denoiser: losses(case, with_denoiser(model, denoiser)), has_aux=True)(denoiser)

    return both(model.denoiser)


def losses(case: Case, model):
    """Return the loss of the recorded training batch, and (x_t, log p(x_0 | x_t), terms)."""
    config, schedule = model.config, make_schedule(model.config.schedule)
    x0, t = jnp.asarray(case["loss/x0"]), jnp.asarray(case["loss/t"])
    x_t = transitions.q_sample_with_uniforms(x0, schedule.marginals()[t], jnp.asarray(classes_last(case["loss/u"])))
    log_x0 = transitions.predict_start(model.denoiser(x_t, t, training_condition(case, model)))
    terms = variational.loss_terms(
        log_x0, x0, x_t, t, jnp.asarray(case["loss/pt"]), schedule.one_step_jumps(), config.objective
    )
    return terms.loss, (x_t, log_x0, terms)


@pytest.mark.cases("text", "class", "none", needs=("loss/",))
def test_loss(case: Case, model):
    (loss, (x_t, log_x0, terms)), _ = computed(case, model)
    np.testing.assert_array_equal(x_t, case["loss/xt"])
    recorded = classes_last(case["loss/log_x0_recon"])
    np.testing.assert_allclose(log_x0, recorded[..., :-1], atol=1e-4)
    assert_log_probs(terms.log_model_prob, case["loss/log_model_prob"])
    assert_log_probs(terms.log_true_prob, case["loss/log_true_prob"])
    np.testing.assert_allclose(jnp.exp(terms.log_model_prob), classes_last(case["loss/out_logits"]), atol=1e-5)
    np.testing.assert_allclose(terms.kl_per_position, case["loss/kl_per_position"], atol=1e-4, rtol=1e-4)
    for name, ours in {
        "kl": terms.kl,
        "decoder_nll": terms.decoder_nll,
        "kl_loss": terms.kl_loss,
        "kl_aux": terms.kl_aux,
        "kl_aux_loss": terms.kl_aux_loss,
        "aux_weight": terms.aux_weight,
        "loss1": terms.kl_loss / case["loss/pt"],
        "loss2": model.config.objective.auxiliary_weight * terms.aux_weight * terms.kl_aux_loss / case["loss/pt"],
        "vb_loss": terms.vb_loss,
        "loss": loss,
    }.items():
        np.testing.assert_allclose(ours, case[f"loss/{name}"], rtol=1e-4, atol=1e-5, err_msg=name)

    # The loss is a function: the running statistics change only through update_loss_state.  Recordings whose
    # buffers were put back after the forward pass hold the same numbers before and after.
    before = timesteps.LossState(jnp.asarray(case["loss/Lt_history_before"]), jnp.asarray(case["loss/Lt_count_before"]))
    put_back = np.array_equal(case["loss/Lt_count_before"], case["loss/Lt_count_after"])
    after = before if put_back else timesteps.update_loss_state(before, jnp.asarray(case["loss/t"]), terms.kl_loss)
    np.testing.assert_allclose(after.history, case["loss/Lt_history_after"], rtol=1e-4)
    np.testing.assert_allclose(after.count, case["loss/Lt_count_after"])


@pytest.mark.cases("text", needs=("loss/",))
def test_training_condition(case: Case, model):
    encoder = clip_in(model.text_encoder, "float16")
    computed = text_embedding(encoder, jnp.asarray(case["loss/tokens"]), model.config.text_embedding).astype(
        jnp.float32
    )
    for condition, tolerance in ((training_condition(case, model), 1e-5), (with_null(case, model, computed), 4e-3)):
        np.testing.assert_allclose(jnp.linalg.norm(condition, axis=-1), case["loss/cond_row_norms"], rtol=tolerance)


@pytest.mark.cases("class", needs=("loss/",))
def test_training_labels(case: Case, model):
    np.testing.assert_array_equal(training_condition(case, model), case["loss/cond"].astype(np.int32))


@pytest.mark.cases("text", "class", "none", needs=("loss/grad_",))
def test_gradients(case: Case, model):
    ours = gradient_names(computed(case, model)[1])
    assert sorted(ours) == sorted(case["loss/grad_names"])
    # A key's bias moves all scores of a query alike, so its gradient is zero and what both sides hold is rounding.
    rounding = 1e-6 * case["loss/grad_total_norm"]
    for name, norm in zip(case["loss/grad_names"], case["loss/grad_norms"], strict=True):
        zero = re.search(r"attn\d?\.key\.bias$", name) is not None
        np.testing.assert_allclose(
            np.linalg.norm(np.float64(ours[name])), norm, rtol=1e-4, atol=rounding if zero else 0, err_msg=name
        )
    for name, recorded in case.group("loss/grad/").items():
        error = np.abs(ours[name] - recorded).max() / np.abs(recorded).max()
        assert error < 1e-4, (name, error)
    total = np.sqrt(sum(np.square(np.float64(array)).sum() for array in ours.values()))
    np.testing.assert_allclose(total, case["loss/grad_total_norm"], rtol=1e-4)


def with_denoiser(model, denoiser):
    leaves, structure = jax.tree.flatten(model)
    copy = jax.tree.unflatten(structure, leaves)
    copy.denoiser = denoiser
    return copy


@pytest.mark.cases("text", "class", "none", needs=("importance/",))
def test_importance_sampling(case: Case):
    history = jnp.asarray(case["importance/Lt_history"])
    state = timesteps.LossState(history, jnp.full_like(history, 11))
    np.testing.assert_allclose(timesteps.timestep_probabilities(state), case["importance/pt_all"], rtol=1e-5)
    uniforms = jnp.asarray(case["importance/u"], jnp.float32)
    t, pt = timesteps.sample_timesteps(uniforms, timesteps.timestep_probabilities(state), len(uniforms))
    np.testing.assert_array_equal(t, case["importance/t"])
    np.testing.assert_allclose(pt, case["importance/pt"], rtol=1e-5)

    assert bool(case["importance/uniform_fallback_when_count_le_10"])
    too_few = timesteps.LossState(history, jnp.full_like(history, 11).at[0].set(10))
    np.testing.assert_allclose(timesteps.timestep_probabilities(too_few), 1 / len(history), rtol=1e-6)
