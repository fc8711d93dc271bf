"""One training step: corrupt, predict, compare, update (paper section 4.2; Improved VQ-Diffusion section 3.1).

``make_step`` closes over what never changes and jits the rest.  A batch is a
dict of arrays with a leading batch axis:

    tokens    (batch, length) int32     or  images (batch, height, width, 3) uint8
    text_ids  (batch, context) int32    text models, with
    text_mask (batch, context) bool
    labels    (batch,) int32            class models; dropped ones hold ``config.null_label``

Noise belongs to a sample's place in the global batch and to the step, so
neither the mesh nor, without dropout, the number of accumulation rounds changes it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from ...config import ModelConfig, ObjectiveConfig
from ...diffusion.objective import LossTerms, loss_terms, sample_timesteps, update_loss_state
from ...diffusion.schedule import Jump, make_schedule
from ...diffusion.transitions import predict_start, q_sample
from ...models.clip import CLIPTextEncoder, text_condition
from ...models.denoiser import Denoiser
from ...models.vqgan import VQGAN, images_to_float
from ...sharding import ShardingRules, on_mesh
from .. import learning_rate
from ..average import update_average
from ..optimizer import make_optimizer
from .config import TrainConfig
from .state import Trained, TrainState, abstract_state

Batch = dict[str, Array]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Frozen:
    """Networks that run inside the step but are not trained; None where the batch or ``Trained`` makes them unnecessary."""

    codec: VQGAN | None = None
    text_encoder: CLIPTextEncoder | None = None


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Example:
    """What the denoiser is shown and should have said (a pytree)."""

    x0: Array  # (batch, length) int32 clean tokens
    x_t: Array  # (batch, length) int32 noised tokens
    t: Array  # (batch,) int32
    pt: Array  # (batch,) probability of having drawn t
    condition: Array | None = None  # text states (batch, context, width), labels (batch,), or None
    is_empty: Array | None = None  # (batch,) bool, text: rows that take the learned null condition


def with_null(denoiser: Denoiser, condition: Array | None, is_empty: Array | None) -> Array | None:
    """The condition with the learned null in the rows of empty captions, so that its gradient comes from them."""
    if is_empty is None or denoiser.null_condition is None:
        return condition
    return jnp.where(is_empty[:, None, None], denoiser.null(condition.shape[0]), condition)


def loss_fn(
    denoiser: Denoiser, example: Example, jumps: Jump, objective: ObjectiveConfig, dropout_key: Array | None = None
) -> tuple[Array, LossTerms]:
    """The training loss, a scalar in nats a token, and its parts (see ``loss_terms``)."""
    condition = with_null(denoiser, example.condition, example.is_empty)
    logits = denoiser(example.x_t, example.t, condition, dropout_key=dropout_key)
    terms = loss_terms(predict_start(logits), example.x0, example.x_t, example.t, example.pt, jumps, objective)
    return terms.loss, terms


def clean_tokens(frozen: Frozen, batch: Batch, keys: Array | None) -> Array:
    """Tokens (batch, length) of the batch: the cached ones, or the codec's, drawn with ``keys`` (batch,) by a gumbel codec."""
    if "tokens" in batch:
        return batch["tokens"]
    return jax.lax.stop_gradient(frozen.codec.encode(images_to_float(batch["images"]), key=keys))


def text_encoder_of(trained: Trained, frozen: Frozen) -> CLIPTextEncoder | None:
    """The text tower: the one that learns, else the frozen one."""
    return frozen.text_encoder if trained.text_encoder is None else trained.text_encoder


def encode_condition(
    config: ModelConfig, text_encoder: CLIPTextEncoder | None, batch: Batch
) -> tuple[Array | None, Array | None]:
    """(condition, rows of empty captions or None) of a batch."""
    if config.denoiser.condition == "class":
        return batch["labels"], None
    if config.denoiser.condition == "none":
        return None, None
    states = text_condition(text_encoder, batch["text_ids"], config.text_embedding)
    # An empty caption is its start and end tokens alone, so that the third place is padding.
    return states, ~batch["text_mask"][:, 2] if config.denoiser.learnable_null else None


def make_step(
    config: TrainConfig, mesh: jax.sharding.Mesh, rules: ShardingRules = ShardingRules()
) -> Callable[[TrainState, Batch, Frozen], tuple[TrainState, dict[str, Array]]]:
    """``step(state, batch, frozen) -> (state, metrics)``, jitted; the state passed in is given away.

    Metrics, all over the whole batch: loss, bits_per_token (an unbiased
    estimate of the variational bound, without the auxiliary term and the
    constant prior), grad_norm (before clipping), learning_rate (of this step).
    Raises ConfigError if the batch does not divide over the mesh.
    """
    config.check_mesh(mesh)
    model, rounds = config.model, config.accumulation
    denoiser_config = model.denoiser
    schedule = make_schedule(model.schedule)
    optimizer = make_optimizer(config.optimizer)
    has_dropout = denoiser_config.attention_dropout > 0 or denoiser_config.residual_dropout > 0

    def in_round(leaf: Array) -> Array:
        return jax.lax.with_sharding_constraint(leaf, NamedSharding(mesh, P(None, *rules.batch)))

    def split(leaf: Array) -> Array:
        # Round r takes samples r, r + rounds, ...: every device splits what it already holds.
        return in_round(jnp.swapaxes(leaf.reshape(leaf.shape[0] // rounds, rounds, *leaf.shape[1:]), 0, 1))

    def noised(frozen: Frozen, piece: dict[str, Array]) -> Example:
        x0 = clean_tokens(frozen, piece, piece["codec_keys"])
        kernel = schedule.marginals()[piece["t"]]
        x_t = jax.vmap(lambda tokens, kernel, key: q_sample(tokens, kernel, denoiser_config.num_codes, key=key))(
            x0, kernel, piece["noise_keys"]
        )
        return Example(x0=x0, x_t=x_t, t=piece["t"], pt=piece["pt"])

    def gradients_of(trained: Trained, frozen: Frozen, piece: dict[str, Array], dropout_key: Array):
        example = noised(frozen, piece)

        def loss_of(trained: Trained) -> tuple[Array, LossTerms]:
            condition, is_empty = encode_condition(model, text_encoder_of(trained, frozen), piece)
            shown = replace(example, condition=condition, is_empty=is_empty)
            key = dropout_key if has_dropout else None
            return loss_fn(trained.denoiser, shown, schedule.one_step_jumps(), model.objective, key)

        (loss, terms), gradients = jax.value_and_grad(loss_of, has_aux=True)(trained)
        return gradients, loss, terms.kl_loss

    def step(state: TrainState, batch: Batch, frozen: Frozen) -> tuple[TrainState, dict[str, Array]]:
        batch_size = config.batch_size
        time_key, noise_key, codec_key, dropout_key = jax.random.split(jax.random.fold_in(state.key, state.step), 4)
        t, pt = sample_timesteps(time_key, state.losses, batch_size)

        def per_sample(key: Array) -> Array:
            return jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(batch_size))

        pieces = {**batch, "t": t, "pt": pt, "noise_keys": per_sample(noise_key), "codec_keys": per_sample(codec_key)}
        if rounds == 1:
            gradients, loss, kl_loss = gradients_of(state.trained, frozen, pieces, dropout_key)
        else:

            def accumulate(total: Any, piece: Any):
                gradients, loss, kl_loss = gradients_of(state.trained, frozen, *piece)
                return jax.tree.map(jnp.add, total, gradients), (loss, kl_loss)

            zeros = jax.tree.map(jnp.zeros_like, state.trained)
            pieces = jax.tree.map(split, pieces), jax.random.split(dropout_key, rounds)
            gradients, (losses, kl_loss) = jax.lax.scan(accumulate, zeros, pieces)
            gradients = jax.tree.map(lambda leaf: leaf / rounds, gradients)
            loss, kl_loss = losses.mean(), jnp.swapaxes(kl_loss, 0, 1).reshape(-1)

        directions, optimizer_state = optimizer.update(gradients, state.optimizer, state.trained)
        rate = state.learning_rate.rate
        trained = jax.tree.map(lambda parameter, direction: parameter - rate * direction, state.trained, directions)
        metrics = {
            "loss": loss,
            "bits_per_token": jnp.mean(kl_loss / pt) / (denoiser_config.num_tokens * math.log(2.0)),
            "grad_norm": optax.tree.norm(gradients),
            "learning_rate": rate,
        }
        after = TrainState(
            step=state.step + 1,
            trained=trained,
            ema=update_average(config.ema, state.step, state.ema, trained),
            optimizer=optimizer_state,
            learning_rate=learning_rate.advance(config.learning_rate, state.learning_rate, loss),
            losses=update_loss_state(state.losses, t, kl_loss),
            key=state.key,
        )
        return after, metrics

    # The new state lies where the old one did: its buffers are reused and the second call compiles nothing.
    placements = jax.tree.map(lambda leaf: leaf.sharding, abstract_state(config, mesh, rules))
    return jax.jit(on_mesh(step, mesh), donate_argnums=0, out_shardings=(placements, NamedSharding(mesh, P())))
