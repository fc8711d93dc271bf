"""The recorded diffusers pipeline, part by part and run by run."""

import re

import jax.numpy as jnp
import numpy as np
import pytest

from tests.golden.cases import Case, classes_last
from tests.golden.loading import diffusers_tokenizer
from tests.golden.test_schedules import assert_buffers
from tests.golden.test_transitions import assert_log_probs
from vqdiffusion_jax.config import TextEmbeddingConfig
from vqdiffusion_jax.diffusion import transitions
from vqdiffusion_jax.diffusion.schedule import make_schedule
from vqdiffusion_jax.models.clip import text_embedding
from vqdiffusion_jax.pipeline import VQDiffusionPipeline
from vqdiffusion_jax.sampling import Ancestral, RecordedNoise, TopR

PIXELS = 0.05 / 255


@pytest.mark.cases("diffusers")
def test_text(case: Case, model):
    ids, _ = diffusers_tokenizer(case)([str(prompt) for prompt in case["prompts"]])
    np.testing.assert_array_equal(ids, case["input_ids"])
    np.testing.assert_allclose(model.text_encoder(jnp.asarray(ids)), case["text_hidden"], atol=1e-4)
    condition = text_embedding(model.text_encoder, jnp.asarray(ids), TextEmbeddingConfig())
    np.testing.assert_allclose(condition, case["prompt_embeds"], atol=1e-5)
    np.testing.assert_array_equal(model.denoiser.null(1)[0], case["uncond_embeds"])


@pytest.mark.cases("diffusers")
def test_network_and_schedule(case: Case, model):
    schedule = make_schedule(model.config.schedule)
    assert_diffusers_buffers(schedule, case.group("sched/"))
    x_t = jnp.asarray(case["x_t"])
    condition = jnp.asarray(case["prompt_embeds"][: len(x_t)])
    recorded = case.group("transformer_t")
    assert recorded
    for timestep, theirs in recorded.items():
        ours = transitions.predict_start(model.denoiser(x_t, jnp.asarray(int(timestep)), condition))
        np.testing.assert_allclose(ours, classes_last(theirs), atol=1e-4)

    for timestep, theirs in case.group("q_posterior_t").items():
        source = source_of(case, f"q_posterior_t{timestep}")
        assert_log_probs(transitions.posterior(source, x_t, schedule.one_step_jumps()[int(timestep)]), theirs)
    for rate, theirs in case.group("truncate_r").items():
        source = source_of(case, f"truncate_r{rate}")
        ours = np.asarray(TopR(float(rate))(jnp.maximum(source, -70)))
        np.testing.assert_allclose(ours, classes_last(theirs), atol=1e-4)


def source_of(case: Case, name: str):
    """Return the recorded network output (batch, length, K) that the array ``name`` was computed from.

    It is the one that the README names beside the array.  Where the README names none, it is the one whose numbers the
    recorded truncations keep; the test is skipped if that leaves several.
    """
    outputs = case.group("transformer_t")
    if named := re.search(r"transformer_t(\d+)", case.meanings.get(name, "")):
        return jnp.asarray(classes_last(outputs[named[1]]))
    truncated = case.group("truncate_r").values()
    fitting = [
        output
        for output in outputs.values()
        if all(np.array_equal(kept[kept > -70], output[kept > -70]) for kept in truncated)
    ]
    if len(fitting) != 1:
        pytest.skip(f"{case.name} does not say which transformer_t* {name} was computed from")
    return jnp.asarray(classes_last(fitting[0]))


def assert_diffusers_buffers(schedule, buffers):
    """Compare the tables that diffusers registers, six of the reference's eight, and ours for the other two."""
    marginals, steps = schedule.marginals(), schedule.steps()
    missing = {"log_1_min_ct": steps.log_not_mask, "log_1_min_cumprod_ct": marginals.log_not_mask}
    assert_buffers(schedule, buffers | {name: table for name, table in missing.items() if name not in buffers})


@pytest.mark.cases("diffusers")
def test_codec(case: Case, model):
    images = jnp.asarray(np.moveaxis(case["vq_image"], 1, -1))
    np.testing.assert_allclose(model.codec.latents(images), np.moveaxis(case["vq_latents"], 1, -1), atol=1e-4)
    np.testing.assert_array_equal(model.codec.encode(images), case["vq_indices"])
    decoded = np.clip(np.moveaxis(case["decode_image"], 1, -1), -1, 1)  # recorded before diffusers clips
    np.testing.assert_allclose(model.codec.decode(jnp.asarray(case["decode_tokens"])), decoded, atol=2 * PIXELS)


@pytest.mark.cases("diffusers")
def test_run(case: Case, run: str, model):
    call = dict(case.calls[run])
    steps, first = case[f"{run}/x"].shape[0], int(case[f"{run}/t"][0])
    last = classes_last(case[f"{run}/u_last"])  # K rows: at t = 0 diffusers draws from the output itself
    uniforms = np.concatenate([classes_last(case[f"{run}/u"]), np.pad(last, ((0, 0), (0, 0), (0, 1)))[None]])
    null = {} if call["learnable"] else {"negative_prompt": ""}
    latents = case.arrays.get(f"{run}/latents")
    out = VQDiffusionPipeline(model, diffusers_tokenizer(case))(
        call["prompts"],
        num_images_per_prompt=call.get("num_images_per_prompt", 1),
        guidance_scale=float(call["guidance_scale"]),
        truncation_rate=float(call.get("truncation_rate", 1.0)),
        strategy=Ancestral(first_timestep=call["num_inference_steps"] - 1),
        latents=latents,
        noise=RecordedNoise(jnp.asarray(uniforms)),
        output_type="np",
        return_trajectory=True,
        **null,
    )
    assert (steps, first) == (call["num_inference_steps"], call["num_inference_steps"] - 1)
    np.testing.assert_array_equal(np.swapaxes(out.trajectory, 0, 1), case[f"{run}/x"])
    np.testing.assert_allclose(out.images, case[f"{run}/image"], atol=PIXELS)
