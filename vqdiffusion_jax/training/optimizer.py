"""AdamW, or Muon for the weights inside blocks, after clipping; as optax transformations.  The step applies the learning rate."""

from __future__ import annotations

import math
import re
from typing import Any

import jax
import optax
from optax.contrib import MuonDimensionNumbers, scale_by_muon

from ..paths import path_of
from .config import OptimizerConfig

_INSIDE = re.compile(r"(^|\.)(blocks|middle|resample)\.")
_MUON_MOMENTUM = 0.95
_MUON_SCALE = (
    0.2  # root mean square of a direction's entries: about that of Adam's, so that one learning rate serves both
)


def make_optimizer(config: OptimizerConfig) -> optax.GradientTransformation:
    """Gradients to directions of unit learning rate: parameters <- parameters - rate * direction.

    Clipping by the global norm, moments, then the decoupled decay (Loshchilov and Hutter 2019) of the parameters that
    ``config.decayed`` names.  Moments are Adam's with bias correction; ``"muon"`` makes the momentum of ``hidden_matrices``
    orthogonal instead (Jordan 2024, "Muon"; scaled as by Liu et al. 2025, "Muon is scalable for LLM training", section 2.2).
    """
    moments = optax.scale_by_adam(b1=config.b1, b2=config.b2, eps=config.epsilon)
    if config.name == "muon":
        moments = optax.partition({"muon": _muon(), "adamw": moments}, hidden_matrices)
    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        moments,
        optax.add_decayed_weights(config.weight_decay, mask=None if config.decayed == "all" else matrices),
    )


def matrices(parameters: Any) -> Any:
    """True for weights of linear layers and convolutions; False for biases, norms, embeddings and the null condition."""
    return jax.tree_util.tree_map_with_path(
        lambda key_path, _: path_of(key_path).split(".")[-1] == "kernel", parameters
    )


def hidden_matrices(parameters: Any) -> Any:
    """``"muon"`` for the weights of attention, MLP and convolutions inside blocks, else ``"adamw"``.

    What reads tokens or pixels, what writes logits or pixels, and what makes a norm's scale and shift is not among them.
    """

    def kind(key_path: Any, _: Any) -> str:
        path = path_of(key_path)
        return "muon" if _INSIDE.search(path) and path.endswith(".kernel") and "norm" not in path else "adamw"

    return jax.tree_util.tree_map_with_path(kind, parameters)


def _muon() -> optax.GradientTransformation:
    def scaled(direction: jax.Array) -> jax.Array:
        out = direction.shape[-1]
        return direction * (_MUON_SCALE * math.sqrt(max(math.prod(direction.shape[_stacked(direction) : -1]), out)))

    return optax.chain(
        scale_by_muon(
            beta=_MUON_MOMENTUM, weight_dimension_numbers=lambda parameters: jax.tree.map(_dimensions, parameters)
        ),
        optax.stateless(lambda updates, _: jax.tree.map(scaled, updates)),
    )


def _stacked(kernel: Any) -> int:
    """How many leading axes count layers: a linear kernel is (in, out), a convolution's (height, width, in, out), a stack has one more."""
    return kernel.ndim % 2


def _dimensions(kernel: Any) -> MuonDimensionNumbers:
    """A kernel as matrices: what is summed over against what comes out."""
    return MuonDimensionNumbers(
        reduction_axis=tuple(range(_stacked(kernel), kernel.ndim - 1)), output_axis=(kernel.ndim - 1,)
    )
