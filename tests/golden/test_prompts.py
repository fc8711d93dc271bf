"""From recorded prompts to the recorded tokens: our tokenizer, our text tower in the reference's float16, our loop."""

import functools

import numpy as np
import pytest

from tests.golden.cases import Case
from tests.golden.test_sampling import recorded_noise, settings
from vqdiffusion_jax import VQDiffusionPipeline
from vqdiffusion_jax.config import ComputeConfig


@functools.cache
def load_pipeline(case: Case) -> VQDiffusionPipeline:
    """Load the checkpoint itself, as a user does."""
    return VQDiffusionPipeline.from_pretrained(
        case.weights, compute=ComputeConfig(), clip_dtype="float16", **case.companions
    )


def ordinary_run(case: Case, guided: bool) -> str:
    """Return the first run without a strategy of its own, with or without learned guidance; skip if there is none."""
    for run, call in case.calls.items():
        ordinary = run in case.run_names and not call["prior_rule"] and "time" not in call["sample_type"]
        if ordinary and call["learnable_cf"] and (call["guidance_scale"] != 1.0) == guided:
            return run
    pytest.skip(f"{case.name} records no ordinary run {'with' if guided else 'without'} guidance")


@pytest.mark.cases("text", needs=("run_",))
@pytest.mark.parametrize("guided", [False, True])
def test_prompts_to_tokens(case: Case, guided):
    run = ordinary_run(case, guided)
    recorded = case[f"{run}/tokens"]
    prompts = [str(prompt) for prompt in case["text/prompts"][: len(recorded)]]
    noise = recorded_noise(case, run)
    out = load_pipeline(case)(
        prompts, **settings(case, run), noise=noise, output_type="tokens", batch_size=len(recorded)
    )
    np.testing.assert_array_equal(out.tokens, recorded)
