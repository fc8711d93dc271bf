"""Everything that training carries from step to step, as one pytree that is born on its devices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax import Array

from ..diffusion.objective import LossState
from ..models.denoiser import Denoiser
from ..sharding import ShardingRules, shardings
from . import learning_rate
from .config import TrainConfig
from .optimizer import make_optimizer


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """A pytree; ``shardings`` finds moments and averages by the same paths as the parameters."""

    step: Array  # () int32, steps taken
    denoiser: Denoiser  # float32 parameters
    ema: Denoiser  # their average, which sampling uses
    optimizer: optax.OptState
    learning_rate: learning_rate.LearningRateState
    losses: LossState  # running losses that steer the choice of timestep
    key: Array  # jax.random.key; step n draws from fold_in(key, n), so nothing is lost by stopping


def new_state(config: TrainConfig, denoiser: Denoiser) -> TrainState:
    """The state before the first step, around ``denoiser``."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        denoiser=denoiser,
        ema=jax.tree.map(jnp.copy, denoiser),  # its own buffers: the step gives both away
        optimizer=make_optimizer(config.optimizer).init(denoiser),
        learning_rate=learning_rate.initial(config.learning_rate),
        losses=LossState.zeros(config.model.denoiser.num_timesteps),
        key=jax.random.key(config.seed),
    )


def fresh_denoiser(config: TrainConfig) -> Denoiser:
    """Randomly initialised parameters; a function of ``config.seed``."""
    return Denoiser(config.model.denoiser, config.compute, rngs=nnx.Rngs(config.seed))


def abstract_state(config: TrainConfig, mesh: jax.sharding.Mesh, rules: ShardingRules = ShardingRules()) -> TrainState:
    """Shapes, dtypes and shardings of the state; nothing is computed."""
    abstract = jax.eval_shape(lambda: new_state(config, fresh_denoiser(config)))
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        abstract,
        shardings(abstract, mesh, rules),
    )


def create_state(config: TrainConfig, mesh: jax.sharding.Mesh) -> TrainState:
    """A fresh state, every array made on the devices that hold it."""
    return _born_sharded(config, mesh, lambda: fresh_denoiser(config))


def state_around(config: TrainConfig, mesh: jax.sharding.Mesh, denoiser: Any) -> TrainState:
    """A state that starts from given parameters: a Denoiser of ``config.compute`` with arrays anywhere."""
    return _born_sharded(config, mesh, lambda parameters: parameters, denoiser)


def _born_sharded(config: TrainConfig, mesh: jax.sharding.Mesh, make: Any, *given: Any) -> TrainState:
    placements = jax.tree.map(lambda leaf: leaf.sharding, abstract_state(config, mesh))
    return jax.jit(lambda *given: new_state(config, make(*given)), out_shardings=placements)(
        *jax.device_put(given, (placements.denoiser,) * len(given))
    )
