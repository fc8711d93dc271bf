"""Recorded prompts, as text, to the recorded tokens: our tokenizer, our text tower in the reference's float16, our loop."""

import numpy as np
import pytest

from tests.golden.cases import Case
from tests.golden.test_sampling import recorded_noise, settings
from vqdiffusion_jax import VQDiffusionPipeline
from vqdiffusion_jax.config import ComputeConfig


@pytest.fixture(scope="module")
def pipeline(case):
    """The checkpoint itself, as a user loads it."""
    names = {"config": "config.yaml", "codec_config": "codec.yaml", "mapping": "mapping.pt"}
    companions = {role: case.path / name for role, name in names.items() if (case.path / name).exists()}
    return VQDiffusionPipeline.from_pretrained(
        case.path / "checkpoint.pth", compute=ComputeConfig(), clip_dtype="float16", **companions
    )


@pytest.mark.cases("text")
@pytest.mark.parametrize("which", ["run_v1", "run_cfg"])
def test_prompts_to_tokens(case: Case, pipeline, which):
    recorded = case[f"{which}/tokens"]
    prompts = [str(prompt) for prompt in case["text/prompts"][: len(recorded)]]
    noise = recorded_noise(case, which)
    out = pipeline(prompts, **settings(case, which), noise=noise, output_type="tokens", batch_size=len(recorded))
    np.testing.assert_array_equal(out.tokens, recorded)
