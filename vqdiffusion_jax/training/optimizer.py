"""AdamW after clipping (Loshchilov and Hutter 2019), as optax transformations; the learning rate is applied by the step."""

from __future__ import annotations

from typing import Any

import jax
import optax

from ..sharding import path_of
from .config import OptimizerConfig


def make_optimizer(config: OptimizerConfig) -> optax.GradientTransformation:
    """Gradients to directions of unit learning rate: parameters <- parameters - rate * direction.

    Clipping by the global norm, Adam's moments with bias correction, then the
    decoupled decay of the parameters that ``config.decayed`` names.
    """
    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        optax.scale_by_adam(b1=config.b1, b2=config.b2, eps=config.epsilon),
        optax.add_decayed_weights(config.weight_decay, mask=None if config.decayed == "all" else matrices),
    )


def matrices(parameters: Any) -> Any:
    """True for weights of linear layers and convolutions; False for biases, norms, embeddings and the null condition."""
    return jax.tree_util.tree_map_with_path(lambda key_path, _: path_of(key_path).split(".")[-1] == "kernel", parameters)
