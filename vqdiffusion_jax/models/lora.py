"""Low-rank adapters of the denoiser's linear layers (LoRA: Hu et al. 2021, arXiv:2106.09685, section 4.1).

A layer of weight W computes x W + alpha / rank * (x a) b, where a and b alone are trained.  Afterwards the product is
added to W, so that sampling costs nothing more.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ..array_types import Key
from ..errors import ConfigError, brief, first_of
from .denoiser import Denoiser
from .fp8 import Fp8Linear
from .matmul import dot_general

# Where a denoiser's linear layers are: layers inside blocks, by part.
_PLACES = {
    "self_attention": ("query", "key", "value", "out"),
    "cross_attention": ("query", "key", "value", "out"),
    "mlp": ("up", "down"),
}
TARGETS = ("query", "key", "value", "out")


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Factors:
    """The two factors of a layer's update, in float32, stacked like its kernel."""

    a: jax.Array | np.ndarray  # (layers, in, rank)
    b: jax.Array | np.ndarray  # (layers, rank, out)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LoRA:
    """An adapter: the factors of each layer that it changes, by the layer's path in the denoiser (a pytree)."""

    layers: dict[str, Factors]  # "blocks.self_attention.query" -> ...
    alpha: float = field(metadata=dict(static=True))

    @property
    def rank(self) -> int:
        """The width between the factors, the same for all layers."""
        return next(iter(self.layers.values())).a.shape[-1]

    @property
    def scale(self) -> float:
        """alpha / rank, by which every update is multiplied."""
        return self.alpha / self.rank


class LoRALinear(nnx.Module):
    """A linear layer and its update, apart, so that gradients of the factors can be taken."""

    def __init__(self, base: nnx.Linear, factors: Factors, scale: float):
        self.base = base
        self.a, self.b = nnx.data(factors.a), nnx.data(factors.b)
        self.scale = scale

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return (..., out) for x (..., in), in the base layer's dtypes."""
        y, last = self.base(x), (((x.ndim - 1,), (0,)), ((), ()))
        dtype = self.base.dtype or x.dtype
        narrow = dot_general(x.astype(dtype), jnp.asarray(self.a, dtype), last) * self.scale
        return y + dot_general(narrow, jnp.asarray(self.b, dtype), last).astype(y.dtype)


def linear_layers(denoiser: Denoiser) -> dict[str, Any]:
    """Return the layers inside blocks that may be adapted, by path; ``check_linear`` tells whether one can be."""
    found = {
        f"blocks.{part}.{name}": getattr(getattr(denoiser.blocks, part, None), name, None)
        for part, names in _PLACES.items()
        for name in names
    }
    return {path: layer for path, layer in found.items() if layer is not None}


def check_linear(path: str, layer: Any) -> None:
    """Raise ConfigError unless the layer at ``path`` is an ordinary linear layer."""
    if isinstance(layer, Fp8Linear):
        raise ConfigError(
            f"{path} multiplies in float8, whose rounded weights LoRA cannot change; take float32 or bfloat16"
        )
    if not isinstance(layer, nnx.Linear):
        raise ConfigError(f"{path} is a convolution; LoRA changes linear layers alone: leave it out of the targets")


def init(denoiser: Denoiser, *, rank: int, alpha: float, targets: Sequence[str] = TARGETS, key: Key) -> LoRA:
    """Return a new adapter, whose update is zero: a from N(0, 1 / in), so that x a is about as large as x, and b zero.

    denoiser: the base; shapes are enough.
    targets: ends of paths: "query", or "cross_attention.query" for that part alone.
    Raises ConfigError for a target that names no layer, or one that cannot be adapted.
    """
    known = linear_layers(denoiser)
    for target in targets:
        if not any(f".{path}".endswith(f".{target}") for path in known):
            raise ConfigError(f"LoRA's target {brief(target)!r} names no layer; layers: {', '.join(known)}")
    chosen = {path: layer for path, layer in known.items() if any(f".{path}".endswith(f".{end}") for end in targets)}
    layers = {}
    for (path, layer), layer_key in zip(chosen.items(), jax.random.split(key, len(chosen)), strict=True):
        check_linear(path, layer)
        *stacked, inner, outer = layer.kernel.shape
        a = jax.random.normal(layer_key, (*stacked, inner, rank), "float32") * inner**-0.5
        layers[path] = Factors(a, jnp.zeros((*stacked, rank, outer), "float32"))
    return LoRA(layers, float(alpha))


def check_fits(lora: LoRA, denoiser: Denoiser) -> None:
    """Raise ConfigError, one line, unless ``lora`` changes layers that ``denoiser``, perhaps abstract, has."""
    known = linear_layers(denoiser)
    if absent := sorted(lora.layers.keys() - known.keys()):
        raise ConfigError(f"this model has no linear layer {first_of(absent)}; it was made for another model")
    for path, factors in lora.layers.items():
        check_linear(path, known[path])
        *stacked, inner, outer = known[path].kernel.shape
        found = factors.a.shape[:-1] + factors.b.shape[-1:], factors.b.shape[:-2]
        if found != ((*stacked, inner, outer), tuple(stacked)):
            raise ConfigError(
                f"{path} is {tuple(known[path].kernel.shape)} in this model, but the LoRA changes {found[0]}; "
                "it was made for another model"
            )


def with_lora(denoiser: Denoiser, lora: LoRA) -> Denoiser:
    """Return the denoiser with its linear layers and their updates apart (``LoRALinear``), to train ``lora``."""
    denoiser = _copy(denoiser)
    for path, factors in lora.layers.items():
        owner, name = _place(denoiser, path)
        setattr(owner, name, LoRALinear(getattr(owner, name), factors, lora.scale))
    return denoiser


def merged(denoiser: Denoiser, adapters: Sequence[tuple[LoRA, float]]) -> Denoiser:
    """Return the denoiser with weights W + sum of weight * alpha / rank * a b over the (adapter, weight) pairs.

    Sums are float32, and rounded once to the weights' dtype.  Arrays are concrete; those that no adapter changes are
    the denoiser's own, and changed ones lie as the denoiser's do.
    """
    denoiser = _copy(denoiser)
    updates: dict[str, list[tuple[Factors, float]]] = {}
    for lora, weight in adapters:
        for path, factors in lora.layers.items():
            updates.setdefault(path, []).append((factors, weight * lora.scale))
    for path, terms in updates.items():
        owner, name = _place(denoiser, path)
        kernel = getattr(owner, name).kernel
        add = jax.jit(_with_updates, out_shardings=kernel[...].sharding)
        kernel[...] = add(kernel[...], terms)
    return denoiser


def _with_updates(kernel: jax.Array, terms: Sequence[tuple[Factors, jax.Array]]) -> jax.Array:
    total = kernel.astype(jnp.float32)
    for factors, scale in terms:
        total += scale * jnp.matmul(factors.a, factors.b, precision=jax.lax.Precision.HIGHEST)
    return total.astype(kernel.dtype)


def _copy(denoiser: Denoiser) -> Denoiser:
    """Return a denoiser with modules of its own and the same arrays."""
    return jax.tree.map(lambda leaf: leaf, denoiser)


def _place(denoiser: Denoiser, path: str) -> tuple[Any, str]:
    *owners, name = path.split(".")
    return functools.reduce(getattr, owners, denoiser), name
