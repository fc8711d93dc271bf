"""Every recorded sampling run, token for token, through the pipeline's own loop with the recorded noise."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.golden.cases import Case, classes_last
from vqdiffusion_jax.generation import Condition
from vqdiffusion_jax.pipeline import VQDiffusionPipeline
from vqdiffusion_jax.sampling import (
    Ancestral,
    FewerTokens,
    Guidance,
    PurityPrior,
    RecordedNoise,
    ReferenceFast,
    TopR,
    predictor,
)
from vqdiffusion_jax.sampling.reveal import reference_counts

PIXELS = 0.05  # of 255


def settings(case: Case, run: str) -> dict:
    """Return the arguments of our pipeline for a recorded run."""
    call = case.calls.get(run, {})
    arguments = {
        "guidance_scale": float(call.get("guidance_scale", 1.0)),
        "null": "auto" if call.get("learnable_cf", True) else "text",
    }
    first, _, second = call.get("sample_type", "normal").partition(",")
    if rate := re.fullmatch(r"top([\d.]+)r", first):
        arguments["truncation_rate"] = float(rate[1])
    else:
        assert first == "normal"
        arguments["top_k"] = 10**9  # keeps every code
    strategy = Ancestral()
    if second.startswith("time"):
        strategy = ReferenceFast(int(float(second.removeprefix("time")) - 1))
    if rule := call.get("prior_rule", 0):
        tables = [case[name].tolist() for name in ("n_sample", "n_sample_multi") if name in case]
        # Models of the released sizes take the reference's own tables.
        tables = tables or [list(reference_counts(case["sched/log_at"].size, call.get("prior_ps", 1024)))]
        counts = call.get("n_sample", tables[0])
        assert counts in tables
        np.testing.assert_array_equal(np.asarray(counts)[case[f"{run}/t"]], case[f"{run}/to_sample"])
        options = {"counts": tuple(counts), "tokens_per_call": call.get("prior_ps", 1024)}
        strategy = PurityPrior(call["prior_weight"], **options) if rule == 2 else FewerTokens(**options)
    arguments["strategy"] = strategy
    return arguments


def subject(case: Case, run: str, count: int) -> dict:
    """Return what conditions the pictures of a recorded run, as arguments of our pipeline."""
    if case.kind == "text":
        return {"prompt_embeds": case["text/emb_fp16"][:count].astype(np.float32)}
    if case.kind == "class":
        return {"class_labels": [case.calls[run]["label"]] * count}
    return {"num_images_per_prompt": count}


def recorded_noise(case: Case, run: str) -> RecordedNoise:
    exponentials = case.arrays.get(f"{run}/exp_noise")
    return RecordedNoise(
        jnp.asarray(classes_last(case[f"{run}/u"])),
        None if exponentials is None else jnp.asarray(np.nan_to_num(exponentials, nan=1.0)),
    )


@pytest.mark.cases("text", "class", "none")
def test_run(case: Case, run: str, model):
    pipeline = VQDiffusionPipeline(model)
    arguments = settings(case, run)
    count = case[f"{run}/tokens"].shape[0]
    if case.kind == "text" and arguments["null"] == "text":
        # The empty prompt's recorded states, which are what conditioned the recorded run.
        prompts = [str(prompt) for prompt in case["text/prompts"]]
        if "" not in prompts:
            pytest.skip(f"{case.name} records no text states of the empty prompt")
        null = case["text/emb_fp16"][prompts.index("")].astype(np.float32)
        arguments["negative_prompt_embeds"] = np.stack([null] * count)
    if f"{run}/content_token" in case:  # partial noising: the first draw is q_sample's
        start = Ancestral(first_timestep=int(case[f"{run}/t"][0]))
        arguments |= {
            "latents": case[f"{run}/content_token"],
            "strength": (start.first_timestep + 1) / pipeline.schedule.num_timesteps,
        }
        del arguments["strategy"]
        first_draw = 1
    else:
        start, first_draw = arguments["strategy"], 0
    out = pipeline(
        **subject(case, run, count),
        **arguments,
        noise=recorded_noise(case, run),
        output_type="np",
        batch_size=count,
        return_trajectory=True,
    )

    np.testing.assert_array_equal(out.tokens, case[f"{run}/tokens"])
    plan = start.plan(pipeline.schedule, pipeline.config.denoiser.num_tokens)
    assert len(plan) + first_draw == len(case[f"{run}/u"])
    after = np.swapaxes(out.trajectory, 0, 1)
    if f"{run}/t" in case:
        np.testing.assert_array_equal(plan.timestep, case[f"{run}/t"])
        np.testing.assert_array_equal(after, case[f"{run}/x_out"])
        np.testing.assert_array_equal(after[:-1], case[f"{run}/x_in"][1:])
    if f"{run}/image" in case:
        np.testing.assert_allclose(out.images * 255, np.moveaxis(case[f"{run}/image"], 1, -1), atol=PIXELS)
    if f"{run}/exp_noise" in case:
        assert_counters(case, run, plan.reveal)
    if f"{run}/log_x0" in case:
        assert_predictions(case, run, model, plan, after, arguments)


def assert_counters(case: Case, run: str, reveal: np.ndarray):
    """Compare how many positions each call chose, and the reference's running count within a timestep."""
    drawn, t, counters = case[f"{run}/n_drawn"], case[f"{run}/t"], case[f"{run}/sampled_out"]
    np.testing.assert_array_equal(reveal > 0, drawn > 0)
    for call in np.flatnonzero(reveal):
        same_timestep = (t == t[call]) & (np.arange(len(t)) <= call)
        assert np.all(counters[call] == reveal[same_timestep].sum())


def assert_predictions(case: Case, run: str, model, plan, after: np.ndarray, arguments: dict):
    """Compare the guided, truncated log p(x_0) of the calls whose was recorded."""
    count = after.shape[1]
    given = subject(case, run, count)
    wanted = Condition(
        embedding=given.get("prompt_embeds"),
        labels=np.asarray(given["class_labels"]) if "class_labels" in given else None,
    )
    condition = wanted.encode(model, count)
    null = None
    if case.kind == "text":
        embedding = arguments.get("negative_prompt_embeds")
        null = Condition(embedding=embedding).encode(model, count)
    elif case.kind == "class":
        null = jnp.full(count, model.config.denoiser.null_label)

    guidance, truncation = Guidance(arguments["guidance_scale"]), TopR(arguments["truncation_rate"])
    before = np.concatenate([np.full_like(after[:1], model.config.denoiser.mask_token), after[:-1]])
    for call, recorded in zip(case[f"{run}/log_x0_calls"], classes_last(case[f"{run}/log_x0"]), strict=True):
        at = jnp.asarray(before[call]), jnp.asarray(plan.timestep[call])
        ours = np.asarray(log_x0(model.denoiser, condition, null, guidance, truncation, *at))
        theirs = recorded[..., :-1]
        differ = (ours <= -70) != (theirs <= -70)
        assert np.exp(np.maximum(ours, theirs))[differ].sum() < 1e-6
        np.testing.assert_allclose(ours[~differ], theirs[~differ], atol=1e-4)


@jax.jit
def log_x0(denoiser, condition, null, guidance, truncation, tokens, timestep):
    """Return log p(x_0 | x_t) of one call.

    The network is an argument, so that runs of the same shapes share a program.
    """

    def logits(tokens, timestep, guided):
        return denoiser(tokens, timestep, condition), denoiser(tokens, timestep, null) if guided else None

    return predictor(logits, guidance, truncation)(tokens, timestep)
