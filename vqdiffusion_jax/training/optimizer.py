"""AdamW, or Muon for the weights inside blocks, after clipping; the step applies the learning rate."""

from __future__ import annotations

import math
import re
from typing import Any, Protocol, cast

import jax
import optax
from optax.contrib import MuonDimensionNumbers, scale_by_muon

from ..paths import path_of
from .config import OptimizerConfig

_INSIDE = re.compile(r"(^|\.)(blocks|middle|resample)\.")
_MUON_MOMENTUM = 0.95
# Root mean square of a direction's entries: about that of Adam's, so that one learning rate serves both.
_MUON_SCALE = 0.2


class Optimizer(Protocol):
    """A gradient transformation of optax, typed for any pytree: its own annotation knows no modules."""

    def init(self, params: Any) -> optax.OptState: ...

    def update(self, updates: Any, state: optax.OptState, params: Any) -> tuple[Any, optax.OptState]: ...


def make_optimizer(config: OptimizerConfig) -> Optimizer:
    """Return the transformation of gradients to directions: parameters <- parameters - rate * direction.

    Clipping by the global norm, moments, then the decoupled decay (Loshchilov and Hutter 2019) of the parameters that
    ``config.decayed`` names.  Moments are Adam's with bias correction; ``"muon"`` makes the momentum of
    ``hidden_matrices`` orthogonal instead (Jordan 2024, "Muon"; scaled as by Liu et al. 2025, "Muon is scalable for LLM
    training", section 2.2).
    """
    moments = optax.scale_by_adam(b1=config.b1, b2=config.b2, eps=config.epsilon)
    if config.name == "muon":
        moments = optax.partition({"muon": _muon(), "adamw": moments}, hidden_matrices)
    chained = optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        moments,
        optax.add_decayed_weights(config.weight_decay, mask=None if config.decayed == "all" else matrices),
    )
    return cast(Optimizer, chained)


def matrices(parameters: Any) -> Any:
    """Return True for weights of linear layers, a LoRA's factors and convolutions, False for all other parameters."""
    return jax.tree_util.tree_map_with_path(
        lambda key_path, _: path_of(key_path).split(".")[-1] in ("kernel", "a", "b"), parameters
    )


def hidden_matrices(parameters: Any) -> Any:
    """Return ``"muon"`` for the weights of attention, MLP and convolutions inside blocks, else ``"adamw"``.

    Layers that read tokens or pixels, write logits or pixels, or make a norm's scale and shift keep AdamW.
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
    """Return 1 for a stack of layers, else 0: a linear kernel has two axes (in, out), a convolution's four."""
    return kernel.ndim % 2


def _dimensions(kernel: Any) -> MuonDimensionNumbers:
    """Return the axes that make matrices of a kernel: all inputs of an output value against the output channels."""
    return MuonDimensionNumbers(
        reduction_axis=tuple(range(_stacked(kernel), kernel.ndim - 1)), output_axis=(kernel.ndim - 1,)
    )
