"""A random pipeline of ours to diffusers, run there, and back: same weights, same tokens from the same noise."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.interop.files import perturbed
from tests.networks import random_network
from vqdiffusion_jax import VQDiffusionPipeline, preset
from vqdiffusion_jax.interop.diffusers import write_diffusers
from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel
from vqdiffusion_jax.paths import leaves_by_path
from vqdiffusion_jax.sampling import RecordedNoise

PROMPTS = ["a red apple", "a dog in the snow"]


@pytest.fixture(scope="module")
def ours():
    config = preset("tiny_text")
    config = replace(
        config,
        denoiser=replace(config.denoiser, position_grid=config.denoiser.grid),
        codec=replace(config.codec, quantizer="vq"),  # diffusers does not keep the running means of an "ema" codebook
    )
    model = random_network(VQDiffusionModel, config)
    model.denoiser.logits = perturbed(model.denoiser.logits)  # else every prediction is nearly uniform
    return VQDiffusionPipeline(model)


@pytest.fixture(scope="module")
def folder(ours, tmp_path_factory):
    folder = tmp_path_factory.mktemp("round_trip") / "diffusers"
    write_diffusers(ours.model, folder, ours.tokenizer)
    return folder


def test_weights_come_back_identical(ours, folder):
    back = leaves_by_path(VQDiffusionPipeline.from_pretrained(folder).model)
    for path, leaf in leaves_by_path(ours.model).items():
        if path != "text_encoder.text_projection":  # sampling does not use it, and the format has no place for it
            np.testing.assert_array_equal(back[path], leaf, err_msg=path)


@pytest.mark.parametrize(("scale", "rate"), [(1.0, 1.0), (3.0, 0.9)])
def test_diffusers_draws_the_same_tokens(ours, folder, monkeypatch, scale, rate):
    torch = pytest.importorskip("torch")
    diffusers = pytest.importorskip("diffusers")
    from diffusers.pipelines.deprecated.vq_diffusion import pipeline_vq_diffusion as module

    monkeypatch.setattr(
        diffusers,
        "LearnedClassifierFreeSamplingEmbeddings",
        module.LearnedClassifierFreeSamplingEmbeddings,
        raising=False,
    )
    theirs = diffusers.VQDiffusionPipeline.from_pretrained(folder)
    theirs.set_progress_bar_config(disable=True)
    denoiser = ours.config.denoiser
    steps, rows = denoiser.num_timesteps, denoiser.num_codes + 1
    uniforms = np.random.default_rng(2).random((steps, len(PROMPTS), rows, denoiser.num_tokens), np.float32)
    draws = iter(uniforms)

    def recorded(shape, **_):
        # The last step draws among the codes alone.
        return torch.from_numpy(next(draws)[:, : shape[1]].copy())

    monkeypatch.setattr(torch, "rand", recorded)
    seen = []
    result = theirs(
        PROMPTS,
        num_inference_steps=steps,
        guidance_scale=scale,
        truncation_rate=rate,
        output_type="np",
        callback=lambda step, t, latents: seen.append(latents.numpy().copy()),
    )
    noise = RecordedNoise(jnp.asarray(np.swapaxes(uniforms, -1, -2)))
    with jax.default_matmul_precision("highest"):
        out = ours(
            PROMPTS, guidance_scale=scale, truncation_rate=rate, noise=noise, output_type="np", return_trajectory=True
        )
    np.testing.assert_array_equal(np.swapaxes(out.trajectory, 0, 1), np.stack(seen))
    np.testing.assert_allclose(out.images, result.images, atol=0.05 / 255)
