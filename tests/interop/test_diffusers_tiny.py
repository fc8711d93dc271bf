"""Pipelines like those of diffusers' own tests, whose parts differ in sizes that the released ones share."""

import numpy as np
import pytest

from tests.interop.test_diffusers import diffusers, edit, torch  # noqa: F401 (fixtures)
from vqdiffusion_jax import VQDiffusionPipeline
from vqdiffusion_jax.config import ComputeConfig, TokenizerConfig
from vqdiffusion_jax.errors import ConversionError
from vqdiffusion_jax.interop import read_diffusers, write_diffusers
from vqdiffusion_jax.interop.diffusers.rules import NULL
from vqdiffusion_jax.text.tokenizer import Tokenizer

EMBEDDINGS, CLASSES, SIDE, WIDTH = 12, 12, 12, 32  # as in diffusers' tests/pipelines/vq_diffusion
VOCABULARY = 290  # end_index


def tiny(torch, diffusers, folder, *, learnable=False, timesteps=100, **transformer):  # noqa: F811
    """The components of diffusers' own tests, with another tokenizer, as theirs is on the hub."""
    import transformers

    torch.manual_seed(0)
    tokenizer = Tokenizer(TokenizerConfig(end_index=VOCABULARY))
    tokenizer.to_files(folder / "vocabulary")
    clip = transformers.CLIPTextConfig(
        bos_token_id=0,
        eos_token_id=2,
        hidden_size=WIDTH,
        intermediate_size=37,
        layer_norm_eps=1e-05,
        num_attention_heads=4,
        num_hidden_layers=5,
        pad_token_id=1,
        vocab_size=1000,
        hidden_act=transformer.pop("hidden_act", "quick_gelu"),
    )
    sizes = {
        "attention_bias": True,
        "cross_attention_dim": WIDTH,
        "attention_head_dim": SIDE * SIDE,
        "num_attention_heads": 1,
        "num_vector_embeds": CLASSES,
        "num_embeds_ada_norm": EMBEDDINGS,
        "norm_num_groups": 32,
        "sample_size": SIDE,
        "activation_fn": "geglu-approximate",
    }
    parts = {
        "vqvae": diffusers.VQModel(
            block_out_channels=[32, 64],
            down_block_types=["DownEncoderBlock2D"] * 2,
            up_block_types=["UpDecoderBlock2D"] * 2,
            latent_channels=3,
            num_vq_embeddings=CLASSES,  # one more than the transformer draws, which counts the mask
            vq_embed_dim=3,
        ),
        "text_encoder": transformers.CLIPTextModel(clip),
        "transformer": diffusers.Transformer2DModel(**(sizes | transformer)),
        NULL: diffusers.LearnedClassifierFreeSamplingEmbeddings(
            learnable=learnable, **({"hidden_size": WIDTH, "length": 77} if learnable else {})
        ),
    }
    with torch.no_grad():
        for part in parts.values():
            for parameter in part.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
            part.eval()
    pipeline = diffusers.VQDiffusionPipeline(
        **parts,
        tokenizer=transformers.CLIPTokenizer.from_pretrained(folder / "vocabulary", pad_token="!", model_max_length=77),
        scheduler=diffusers.VQDiffusionScheduler(num_vec_classes=CLASSES, num_train_timesteps=timesteps),
    )
    pipeline.save_pretrained(folder / "saved")
    return pipeline, folder / "saved"


CASES = {
    "as in diffusers": {},
    "with a null condition": {"learnable": True},
    "exact gelu in CLIP": {"hidden_act": "gelu"},
    "attention without bias": {"attention_bias": False},
    "fewer timesteps than embeddings": {"timesteps": 5},
    "options that change nothing": {"use_linear_projection": True, "upcast_attention": True},
}


@pytest.mark.parametrize("options", CASES.values(), ids=CASES)
def test_the_networks_match(torch, diffusers, tmp_path, options):  # noqa: F811
    pipeline, folder = tiny(torch, diffusers, tmp_path, **options)
    model, tokenizer, _ = read_diffusers(folder)
    steps = min(EMBEDDINGS, options.get("timesteps", 100))
    assert model.config.denoiser.num_timesteps == steps and model.config.text_encoder.mlp_width == 37
    rng = np.random.default_rng(0)
    tokens, ids = rng.integers(0, CLASSES, (2, SIDE * SIDE)), tokenizer(["an art", ""])[0]
    with torch.no_grad():
        states = pipeline.text_encoder(torch.from_numpy(ids).long())[0]
        expected = pipeline.transformer(
            torch.from_numpy(tokens), encoder_hidden_states=states, timestep=torch.tensor(steps - 1)
        ).sample
        codes = pipeline.vqvae.quantize.get_codebook_entry(
            torch.from_numpy(np.minimum(tokens, CLASSES - 2)), shape=(2, SIDE, SIDE, 3)
        )
        images = pipeline.vqvae.decode(codes, force_not_quantize=True).sample.permute(0, 2, 3, 1)
    ours = np.asarray(model.text_encoder(ids))
    np.testing.assert_allclose(ours, states, atol=2e-5)
    logits = np.asarray(model.denoiser(tokens.astype(np.int32), np.full(2, steps - 1, np.int32), ours))
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    np.testing.assert_allclose(log_p, expected.permute(0, 2, 1), atol=1e-4)
    decoded = model.codec.decode(np.minimum(tokens, CLASSES - 2).astype(np.int32))
    np.testing.assert_allclose(decoded, np.clip(images, -1, 1), atol=2e-5)


@pytest.mark.parametrize("timesteps", [100, 5])
def test_the_schedule_is_the_part_that_both_tables_reach(torch, diffusers, tmp_path, timesteps):  # noqa: F811
    pipeline, folder = tiny(torch, diffusers, tmp_path, timesteps=timesteps)
    schedule = VQDiffusionPipeline.from_pretrained(folder, compute=ComputeConfig()).schedule
    steps = min(EMBEDDINGS, timesteps)
    assert schedule.num_timesteps == steps
    for ours, theirs in (("keep", "at"), ("uniform", "bt"), ("mask", "ct"), ("cum_keep", "cumprod_at")):
        expected = getattr(pipeline.scheduler, f"log_{theirs}").numpy()[:steps]
        np.testing.assert_allclose(np.log(getattr(schedule, ours)[:steps]), expected, atol=1e-5)


def test_it_draws_and_is_written_back(torch, diffusers, tmp_path):  # noqa: F811
    _, folder = tiny(torch, diffusers, tmp_path, learnable=True)
    pipeline = VQDiffusionPipeline.from_pretrained(folder, compute=ComputeConfig())
    assert pipeline("an art", output_type="np", seed=0).images.shape == (1, 24, 24, 3)
    codec = pipeline.model.codec
    write_diffusers(pipeline.model, tmp_path / "written", pipeline.tokenizer)
    loaded = diffusers.VQDiffusionPipeline.from_pretrained(tmp_path / "written")
    assert loaded.text_encoder.config.intermediate_size == 37 and loaded.vqvae.config.num_vq_embeddings == CLASSES
    again, _, _ = read_diffusers(tmp_path / "written")
    assert again.config == pipeline.config
    codec.reduced_to_full[...] = codec.reduced_to_full[...][::-1]
    with pytest.raises(ConversionError, match="reduced_codebook_size=11"):
        write_diffusers(pipeline.model, tmp_path / "reversed", pipeline.tokenizer)


def test_more_classes_than_codes_are_refused(torch, diffusers, tmp_path):  # noqa: F811
    _, folder = tiny(torch, diffusers, tmp_path)
    edit(folder / "vqvae/config.json", num_vq_embeddings=10)
    with pytest.raises(ConversionError, match="the codec gives 10 codes but the denoiser expects 11"):
        read_diffusers(folder)
