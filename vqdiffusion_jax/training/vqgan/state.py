"""Everything that a codec's training carries from step to step, as one pytree that is initialised on its devices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from ...models.shapes import make_rngs
from ...models.vqgan import VQGAN
from ...random_keys import key_of
from ...sharding import ShardingRules
from .. import learning_rate
from ..optimizer import make_optimizer
from ..sharded_init import abstract_on, init_sharded
from .config import VQGANTrainConfig
from .discriminator import Discriminator


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Adversary:
    """The discriminator and the state of its own optimizer."""

    discriminator: Discriminator
    optimizer: optax.OptState


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class VQGANState:
    """A pytree; ``shardings`` finds moments and averages by the same paths as the parameters."""

    step: Array  # () int32, steps taken
    codec: VQGAN  # float32 parameters and, for ``ema``, the codebook's running sums
    ema: VQGAN  # their average, the result of training
    optimizer: optax.OptState
    learning_rate: learning_rate.LearningRateState
    adversary: Adversary | None  # None without a discriminator
    key: Array  # jax.random.key; step n draws from fold_in(key, n), so nothing is lost by stopping


def new_state(config: VQGANTrainConfig, codec: VQGAN) -> VQGANState:
    """Return the state before the first step, around ``codec``; the discriminator is a function of ``config.seed``."""
    optimizer, adversary = make_optimizer(config.optimizer), None
    if config.discriminator.weight:
        key = jax.random.fold_in(key_of(config.seed), 1)
        discriminator = Discriminator(config.discriminator, config.compute, rngs=make_rngs(key))
        adversary = Adversary(discriminator, optimizer.init(discriminator))
    return VQGANState(
        step=jnp.zeros((), jnp.int32),
        codec=codec,
        ema=jax.tree.map(jnp.copy, codec),  # its own buffers: the step gives both away
        optimizer=optimizer.init(codec),
        learning_rate=learning_rate.init(config.learning_rate),
        adversary=adversary,
        key=key_of(config.seed),
    )


def fresh_codec(config: VQGANTrainConfig) -> VQGAN:
    """Return a randomly initialised codec; a function of ``config.seed``."""
    return VQGAN(config.codec, config.compute, rngs=make_rngs(config.seed))


def abstract_state(
    config: VQGANTrainConfig, mesh: jax.sharding.Mesh, rules: ShardingRules = ShardingRules()
) -> VQGANState:
    """Return the state's shapes, dtypes and shardings; nothing is computed."""
    return abstract_on(mesh, lambda: new_state(config, fresh_codec(config)), rules)


def create_state(config: VQGANTrainConfig, mesh: jax.sharding.Mesh, given: Any = None) -> VQGANState:
    """Return a first state, every array made on the devices that hold it.

    given: a VQGAN of ``config.codec`` and ``config.compute`` to start from, with arrays anywhere; None for a random
    one.
    """
    abstract = abstract_state(config, mesh)
    if given is None:
        return init_sharded(mesh, abstract, lambda: new_state(config, fresh_codec(config)))
    return init_sharded(mesh, abstract, lambda given: new_state(config, given), given)
