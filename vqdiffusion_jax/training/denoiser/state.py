"""Everything that training carries from step to step, as one pytree that is initialised on its devices."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax
from jax import Array

from ...diffusion.timesteps import LossState
from ...errors import ConfigError
from ...models import lora
from ...models.clip import CLIPTextEncoder
from ...models.denoiser import Denoiser
from ...models.lora import LoRA
from ...models.shapes import make_rngs, shapes_of
from ...random_keys import key_of
from ...sharding import ShardingRules
from .. import learning_rate
from ..optimizer import make_optimizer
from ..sharded_init import abstract_on, init_sharded
from .config import TrainConfig


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Trained:
    """The networks whose parameters the step moves."""

    denoiser: Denoiser | None = None  # without ``config.lora``
    text_encoder: CLIPTextEncoder | None = None  # with ``config.train_text_encoder``
    lora: LoRA | None = None  # with ``config.lora``


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """A pytree; ``shardings`` finds moments and averages by the same paths as the parameters."""

    step: Array  # () int32, steps taken
    trained: Trained  # float32 parameters
    ema: Trained  # their average, which sampling uses
    optimizer: optax.OptState
    learning_rate: learning_rate.LearningRateState
    losses: LossState  # running losses by timestep
    key: Array  # jax.random.key; step n draws from fold_in(key, n), so nothing is lost by stopping


def new_state(config: TrainConfig, trained: Trained) -> TrainState:
    """Return the state before the first step, around ``trained``."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        trained=trained,
        ema=jax.tree.map(jnp.copy, trained),  # its own buffers: the step gives both away
        optimizer=make_optimizer(config.optimizer).init(trained),
        learning_rate=learning_rate.init(config.learning_rate),
        losses=LossState.zeros(config.model.denoiser.num_timesteps),
        key=key_of(config.seed),
    )


def fresh_networks(config: TrainConfig) -> Trained:
    """Return randomly initialised networks; a function of ``config.seed``."""
    if config.lora.rank:
        base, adapter = shapes_of(Denoiser, config.model.denoiser, config.compute), config.lora
        made = lora.init(base, rank=adapter.rank, alpha=adapter.alpha, targets=adapter.targets, key=key_of(config.seed))
        return Trained(lora=made)
    denoiser = Denoiser(config.model.denoiser, config.compute, rngs=make_rngs(config.seed))
    if not config.train_text_encoder:
        return Trained(denoiser)
    if config.model.text_encoder is None:
        raise ConfigError("TrainConfig.train_text_encoder is set, but the model has no text tower")
    tower_key = jax.random.fold_in(key_of(config.seed), 1)
    return Trained(denoiser, CLIPTextEncoder(config.model.text_encoder, config.compute, rngs=make_rngs(tower_key)))


def abstract_state(config: TrainConfig, mesh: jax.sharding.Mesh, rules: ShardingRules = ShardingRules()) -> TrainState:
    """Return the state's shapes, dtypes and shardings; nothing is computed."""
    return abstract_on(mesh, lambda: new_state(config, fresh_networks(config)), rules)


def create_state(config: TrainConfig, mesh: jax.sharding.Mesh, given: Trained | None = None) -> TrainState:
    """Return a first state, every array made on the devices that hold it.

    given: networks of ``config.compute`` to start from, with arrays anywhere; None for random ones.
    """
    abstract = abstract_state(config, mesh)
    if given is None:
        return init_sharded(mesh, abstract, lambda: new_state(config, fresh_networks(config)))
    return init_sharded(mesh, abstract, lambda given: new_state(config, given), given)
