"""One training step: corrupt, predict, compare, update (paper section 4.2; Improved VQ-Diffusion section 3.1).

Noise belongs to a sample's place in the global batch and to the step, so neither the mesh nor, without dropout, the
number of accumulation rounds changes it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from ...config import ModelConfig
from ...diffusion.objectives import Objective, Terms, make_objective
from ...diffusion.schedule import Schedule, make_schedule
from ...diffusion.timesteps import sample_timesteps, update_loss_state
from ...diffusion.transitions import predict_start, q_sample
from ...models.clip import CLIPTextEncoder, text_condition
from ...models.denoiser import Denoiser
from ...models.lora import with_lora
from ...models.vqgan import VQGAN, images_to_float
from ...sharding import ShardingRules, compiler_options, on_mesh
from .. import learning_rate
from ..batch import Batch, array_of
from ..ema import update_ema
from ..metric_accumulator import StepMetrics
from ..optimizer import make_optimizer
from .config import TrainConfig
from .state import Trained, TrainState, abstract_state


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Frozen:
    """Networks that run inside the step untrained; None where the batch or ``Trained`` makes them unnecessary."""

    codec: VQGAN | None = None
    text_encoder: CLIPTextEncoder | None = None
    denoiser: Denoiser | None = None  # the base that a LoRA adapts


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Samples:
    """A batch, or one accumulation round of it, and all that was drawn for its samples (a pytree)."""

    batch: Batch
    t: Array  # (batch,) int32
    pt: Array  # (batch,) probability of having drawn t
    noise_keys: Array  # (batch,) random keys of the corruption
    codec_keys: Array  # (batch,) random keys of a codec that draws its tokens


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Example:
    """The denoiser's input and what it is compared with (a pytree)."""

    x0: Array  # (batch, length) int32 clean tokens
    x_t: Array  # (batch, length) int32 noised tokens
    t: Array  # (batch,) int32
    pt: Array  # (batch,) probability of having drawn t
    condition: Array | None = None  # text states (batch, context, width), labels (batch,), or None
    is_empty: Array | None = None  # (batch,) bool, text: rows that take the learned null condition


def with_null(denoiser: Denoiser, condition: Array | None, is_empty: Array | None) -> Array | None:
    """Return the condition with the learned null in the rows of empty captions, whose gradient then reaches it."""
    if condition is None or is_empty is None or denoiser.null_condition is None:
        return condition
    return jnp.where(is_empty[:, None, None], denoiser.null(condition.shape[0]), condition)


@jax.named_scope("loss")
def loss_fn(
    denoiser: Denoiser, example: Example, objective: Objective, dropout_key: Array | None = None
) -> tuple[Array, Terms]:
    """Return the training loss, a scalar in nats a token, and the objective's terms."""
    condition = with_null(denoiser, example.condition, example.is_empty)
    with jax.named_scope("denoiser"):
        logits = denoiser(example.x_t, example.t, condition, dropout_key=dropout_key)
    terms = objective(predict_start(logits), example.x0, example.x_t, example.t, example.pt)
    return terms.loss, terms


@jax.named_scope("codec")
def clean_tokens(frozen: Frozen, batch: Batch, keys: Array | None) -> Array:
    """Return the batch's tokens (batch, length): cached ones, or the codec's; a gumbel codec draws with ``keys``."""
    if "tokens" in batch:
        return batch["tokens"]
    if frozen.codec is None:
        raise ValueError("the batch has images, but there is no codec to make tokens of them")
    return jax.lax.stop_gradient(frozen.codec.encode(images_to_float(array_of(batch, "images")), key=keys))


def text_encoder_of(trained: Trained, frozen: Frozen) -> CLIPTextEncoder | None:
    """Return the text tower that is trained, else the frozen one."""
    return frozen.text_encoder if trained.text_encoder is None else trained.text_encoder


def denoiser_of(trained: Trained, frozen: Frozen) -> Denoiser:
    """Return the denoiser that is trained, or the frozen one with the LoRA that is trained."""
    if trained.denoiser is not None:
        return trained.denoiser
    if trained.lora is None or frozen.denoiser is None:
        raise ValueError("there is no denoiser: a LoRA needs its base among the frozen networks")
    return with_lora(frozen.denoiser, trained.lora)


@jax.named_scope("text_tower")
def encode_condition(
    config: ModelConfig, text_encoder: CLIPTextEncoder | None, batch: Batch
) -> tuple[Array | None, Array | None]:
    """Return the batch's condition and, with a learned null condition, which captions are empty (batch,)."""
    if config.denoiser.condition == "class":
        return array_of(batch, "labels"), None
    if config.denoiser.condition == "none":
        return None, None
    if text_encoder is None or config.text_embedding is None:
        raise ValueError("the model is conditioned on text, but there is no text tower")
    states = text_condition(text_encoder, array_of(batch, "text_ids"), config.text_embedding)
    # An empty caption is its start and end tokens alone, so that the third place is padding.
    return states, ~array_of(batch, "text_mask")[:, 2] if config.denoiser.learnable_null else None


@jax.named_scope("corruption")
def corrupt(schedule: Schedule, frozen: Frozen, samples: Samples) -> Example:
    """Return the samples' clean tokens and x_t ~ q(x_t | x_0), without their condition."""
    x0 = clean_tokens(frozen, samples.batch, samples.codec_keys)
    kernel = schedule.marginals()[samples.t]
    x_t = jax.vmap(lambda tokens, kernel, key: q_sample(tokens, kernel, schedule.num_codes, key=key))(
        x0, kernel, samples.noise_keys
    )
    return Example(x0=x0, x_t=x_t, t=samples.t, pt=samples.pt)


def gradients_of(
    config: ModelConfig,
    schedule: Schedule,
    objective: Objective,
    trained: Trained,
    frozen: Frozen,
    samples: Samples,
    dropout_key: Array,
) -> tuple[Trained, Array, Array]:
    """Return the loss's gradient, the loss () and the bound's term of each sample (batch,), as of ``Terms.nats``."""
    example = corrupt(schedule, frozen, samples)
    has_dropout = config.denoiser.attention_dropout > 0 or config.denoiser.residual_dropout > 0

    def loss_of(trained: Trained) -> tuple[Array, Terms]:
        condition, is_empty = encode_condition(config, text_encoder_of(trained, frozen), samples.batch)
        shown = replace(example, condition=condition, is_empty=is_empty)
        return loss_fn(denoiser_of(trained, frozen), shown, objective, dropout_key if has_dropout else None)

    (loss, terms), gradients = jax.value_and_grad(loss_of, has_aux=True)(trained)
    return gradients, loss, terms.nats


def accumulated_gradients(
    gradients: Callable[[Samples, Array], tuple[Trained, Array, Array]],
    like: Trained,
    samples: Samples,
    dropout_key: Array,
    rounds: int,
    sharding: NamedSharding | None,
) -> tuple[Trained, Array, Array]:
    """Return ``gradients(samples, dropout_key)`` of the whole batch, from ``rounds`` parts of it one after another.

    like: a tree of the gradients' shapes.  sharding: of arrays (rounds, batch / rounds, ...).
    """

    def split(leaf: Array) -> Array:
        # Round r takes samples r, r + rounds, ...: every device splits what it already holds.
        parts = jnp.swapaxes(leaf.reshape(leaf.shape[0] // rounds, rounds, *leaf.shape[1:]), 0, 1)
        return parts if sharding is None else jax.lax.with_sharding_constraint(parts, sharding)

    def accumulate(total: Any, round_: tuple[Samples, Array]) -> tuple[Any, tuple[Array, Array]]:
        of_round, loss, nats = gradients(*round_)
        return jax.tree.map(jnp.add, total, of_round), (loss, nats)

    zeros = jax.tree.map(jnp.zeros_like, like)
    parts = jax.tree.map(split, samples), jax.random.split(dropout_key, rounds)
    total, (losses, nats) = jax.lax.scan(accumulate, zeros, parts)
    mean = jax.tree.map(lambda leaf: leaf / rounds, total)
    return mean, losses.mean(), jnp.swapaxes(nats, 0, 1).reshape(-1)


def train_step(
    config: TrainConfig,
    state: TrainState,
    batch: Batch,
    frozen: Frozen,
    *,
    rounds_sharding: NamedSharding | None = None,
) -> tuple[TrainState, StepMetrics]:
    """Return the state after one step and its metrics; a pure function, to be jitted with ``config`` bound.

    Metrics, all over the whole batch: loss, bits_per_token (an unbiased estimate of the variational bound, without the
    constant prior and what the objective adds), grad_norm (before clipping), learning_rate (of this step).
    rounds_sharding: where arrays (accumulation, batch / accumulation, ...) lie, on a mesh.
    """
    model, batch_size = config.model, config.batch_size
    schedule = make_schedule(model.schedule)
    objective = make_objective(model.objective, schedule)
    time_key, noise_key, codec_key, dropout_key = jax.random.split(jax.random.fold_in(state.key, state.step), 4)
    t, pt = sample_timesteps(time_key, objective.timestep_probabilities(state.losses), batch_size)

    def per_sample(key: Array) -> Array:
        return jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(batch_size))

    samples = Samples(batch, t, pt, noise_keys=per_sample(noise_key), codec_keys=per_sample(codec_key))
    gradients_of_part = partial(gradients_of, model, schedule, objective, state.trained, frozen)
    if config.accumulation == 1:
        gradients, loss, nats = gradients_of_part(samples, dropout_key)
    else:
        gradients, loss, nats = accumulated_gradients(
            gradients_of_part, state.trained, samples, dropout_key, config.accumulation, rounds_sharding
        )

    optimizer = make_optimizer(config.optimizer)
    rate = state.learning_rate.rate
    with jax.named_scope("optimizer"):
        directions, optimizer_state = optimizer.update(gradients, state.optimizer, state.trained)
        trained = jax.tree.map(lambda parameter, direction: parameter - rate * direction, state.trained, directions)
    metrics = {
        "loss": loss,
        "bits_per_token": jnp.mean(nats / pt) / (model.denoiser.num_tokens * math.log(2.0)),
        "grad_norm": optax.tree.norm(gradients),
        "learning_rate": rate,
    }
    after = TrainState(
        step=state.step + 1,
        trained=trained,
        ema=update_ema(config.ema, state.step, state.ema, trained),
        optimizer=optimizer_state,
        learning_rate=learning_rate.update(config.learning_rate, state.learning_rate, loss),
        losses=update_loss_state(state.losses, t, nats),
        key=state.key,
    )
    return after, metrics


def make_step(
    config: TrainConfig, mesh: jax.sharding.Mesh, rules: ShardingRules = ShardingRules()
) -> Callable[[TrainState, Batch, Frozen], tuple[TrainState, StepMetrics]]:
    """Return ``step(state, batch, frozen) -> (state, metrics)``: ``train_step`` jitted on ``mesh``; it takes the state.

    Raises ConfigError if the batch does not divide over the mesh, or for a schedule or objective that cannot be made.
    """
    config.check_mesh(mesh)
    make_objective(config.model.objective, make_schedule(config.model.schedule))  # raises now rather than while tracing
    step = partial(train_step, config, rounds_sharding=NamedSharding(mesh, P(None, *rules.batch)))
    # The new state lies where the old one did: its buffers are reused and the second call compiles nothing.
    placements: Any = jax.tree.map(lambda leaf: leaf.sharding, abstract_state(config, mesh, rules))
    return jax.jit(
        on_mesh(step, mesh),
        donate_argnums=0,
        out_shardings=(placements, NamedSharding(mesh, P())),
        compiler_options=compiler_options(mesh),
    )
