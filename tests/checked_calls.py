"""Run by test_array_types.py in a process of its own: traces models of every kind with all annotations enforced."""

from tests.array_checks import install

install()  # before anything of the package is imported

# ruff: noqa: E402
import jax
import jax.numpy as jnp
import pytest
from jaxtyping import TypeCheckError

from vqdiffusion_jax import preset
from vqdiffusion_jax.config import CLIPVisionConfig
from vqdiffusion_jax.diffusion import loss_terms, make_schedule, posterior, predict_start, q_sample
from vqdiffusion_jax.diffusion.timesteps import (
    LossState,
    sample_timesteps,
    timestep_probabilities,
    update_loss_state,
)
from vqdiffusion_jax.generation import Condition, Request, advance, prepare, render
from vqdiffusion_jax.models.attention import attention
from vqdiffusion_jax.models.clip import CLIPVisionEncoder, normalize_images
from vqdiffusion_jax.models.quantizers import ema_update, nearest_codes
from vqdiffusion_jax.models.shapes import shapes_of
from vqdiffusion_jax.models.vqdiffusion import VQDiffusionModel
from vqdiffusion_jax.sampling import (
    Ancestral,
    EntropyBound,
    FewerTokens,
    Guidance,
    KeyNoise,
    MaskGIT,
    PurityPrior,
    ReferenceFast,
    Remask,
    TopK,
    TopR,
    all_mask_start,
    image_keys,
)

BATCH = 2
VISION = CLIPVisionConfig(image_size=8, patch_size=4, width=16, num_layers=1, num_heads=2, projection_width=8)
STRATEGIES = (Ancestral(), ReferenceFast(1), FewerTokens(), PurityPrior(), MaskGIT(), Remask(), EntropyBound())


def condition_of(config):
    """Return a condition and a null condition for a model of this configuration."""
    if config.denoiser.condition == "text":
        ids = jnp.zeros((BATCH, config.tokenizer.context_length), jnp.int32)
        return Condition(ids=ids), Condition(ids=ids)
    if config.denoiser.condition == "class":
        return Condition(labels=jnp.zeros(BATCH, jnp.int32)), Condition(labels=jnp.ones(BATCH, jnp.int32))
    return Condition(), None


def sample(model, strategy):
    """Return pictures of a guided, truncated call."""
    schedule, (condition, null) = make_schedule(model.config.schedule), condition_of(model.config)
    denoiser = model.config.denoiser
    request = Request(
        condition=condition,
        null=null,
        strategy=strategy,
        plan=strategy.plan(schedule, denoiser.num_tokens),
        guidance=Guidance(1.0 if null is None else 2.0),
        truncation=TopK(3) if isinstance(strategy, Ancestral) else TopR(0.9),
        noise=KeyNoise(image_keys(0, 0, BATCH)),
        start=all_mask_start(BATCH, denoiser.num_tokens, denoiser.num_codes),
    )
    return render(model, advance(model, prepare(model, request), request)[0], "uint8", "truncate")


def train(model, key):
    """Return the loss of a training batch."""
    schedule, config = make_schedule(model.config.schedule), model.config.denoiser
    tokens = jnp.zeros((BATCH, config.num_tokens), jnp.int32)
    state = LossState.zeros(config.num_timesteps)
    t, pt = sample_timesteps(key, timestep_probabilities(state), BATCH)
    x_t = q_sample(tokens, schedule.marginals()[t], config.num_codes, key=key)
    condition = condition_of(model.config)[0].encode(model, BATCH)
    log_x0 = predict_start(model.denoiser(x_t, t, condition, dropout_key=key))
    terms = loss_terms(log_x0, tokens, x_t, t, pt, schedule.one_step_jumps(), model.config.objective)
    return terms.loss, update_loss_state(state, t, terms.kl_loss)


def encode(codec, key):
    """Return the tokens of pictures, and the pictures of the tokens."""
    size = codec.config.image_size
    tokens = codec.encode(jnp.zeros((BATCH, size, size, 3)), key=key)
    if codec.config.quantizer == "ema":
        ema_update(codec.quantizer, codec.latents(jnp.zeros((BATCH, size, size, 3))))
    return codec.decode(tokens)


def wrong_calls(key):
    """Call functions with arrays whose sizes or kinds do not belong together; each must be refused."""
    zeros, ids = jnp.zeros, jnp.zeros((2, 5), jnp.int32)
    jump = make_schedule(preset("tiny_class").schedule).one_step_jumps()[0]
    for call in (
        lambda: nearest_codes(zeros((2, 3)), zeros((8, 4))),
        lambda: nearest_codes(zeros((2, 3), jnp.int32), zeros((8, 3))),
        lambda: attention(zeros((2, 5, 2, 4)), zeros((2, 7, 2, 4)), zeros((2, 6, 2, 4))),
        lambda: posterior(zeros((2, 4, 9)), ids, jump),
        lambda: posterior(zeros((2, 5, 9)), zeros((2, 5)), jump),
        lambda: KeyNoise(image_keys(0, 0, 2)).gumbel(key, (2, 5, 3)),
    ):
        with pytest.raises(TypeCheckError):
            call()


def main() -> None:
    key = jax.random.key(0)
    for name in ("tiny_text", "tiny_class", "tiny_unconditional"):
        model = shapes_of(VQDiffusionModel, preset(name))
        for strategy in STRATEGIES if name == "tiny_unconditional" else STRATEGIES[:1]:
            jax.eval_shape(lambda model, s=strategy: sample(model, s), model)
        jax.eval_shape(train, model, key)
        jax.eval_shape(encode, model.codec, key)
    tower = shapes_of(CLIPVisionEncoder, VISION)
    images = jnp.zeros((BATCH, VISION.image_size, VISION.image_size, 3))
    jax.eval_shape(lambda tower: tower(normalize_images(images)), tower)
    wrong_calls(key)


if __name__ == "__main__":
    main()
