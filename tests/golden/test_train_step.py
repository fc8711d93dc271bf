"""The recorded loss and every recorded gradient through the train step's own loss function."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.golden.cases import Case
from tests.golden.loading import empty_captions, gradient_names, training_states
from vqdiffusion_jax.diffusion.objectives import make_objective
from vqdiffusion_jax.diffusion.schedule import make_schedule
from vqdiffusion_jax.training.denoiser.step import Example, loss_fn


def recorded_example(case: Case) -> Example:
    condition, is_empty = None, None
    if case.kind == "class":
        condition = jnp.asarray(case["loss/labels"])
    if case.kind == "text":
        condition, is_empty = training_states(case), empty_captions(case)
    arrays = {"x0": "x0", "x_t": "xt", "t": "t", "pt": "pt"}
    return Example(
        **{name: jnp.asarray(case[f"loss/{theirs}"]) for name, theirs in arrays.items()},
        condition=condition,
        is_empty=is_empty,
    )


@pytest.mark.cases("text", "class", "none", needs=("loss/grad_",))
def test_loss_and_gradients(case: Case, model):
    objective = make_objective(model.config.objective, make_schedule(model.config.schedule))
    both = jax.jit(jax.value_and_grad(lambda denoiser, example: loss_fn(denoiser, example, objective), has_aux=True))
    (loss, terms), gradients = both(model.denoiser, recorded_example(case))
    np.testing.assert_allclose(loss, case["loss/loss"], rtol=1e-4)
    np.testing.assert_allclose(terms.nats, case["loss/kl_loss"], rtol=1e-4, atol=1e-5)
    ours = gradient_names(gradients)
    assert sorted(ours) == sorted(case["loss/grad_names"])
    for name, norm in zip(case["loss/grad_names"], case["loss/grad_norms"], strict=True):
        # A key bias moves all scores of a query alike: its gradient is zero, and what is recorded is rounding.
        np.testing.assert_allclose(np.linalg.norm(np.float64(ours[name])), norm, rtol=1e-4, atol=1e-6, err_msg=name)
    for name, recorded in case.group("loss/grad/").items():
        assert np.abs(ours[name] - recorded).max() < 1e-4 * np.abs(recorded).max() + 1e-6, name
