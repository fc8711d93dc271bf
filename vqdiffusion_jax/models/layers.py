"""Building blocks that the denoiser, the VQGAN and CLIP share.

Constructors take a ``ComputeConfig`` and ``rngs``.  No module keeps state, so that a module is an immutable pytree
under plain ``jax.jit``, ``jax.grad`` and ``jax.lax.scan``.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import PartitionSpec as P

from ..array_types import FeatureMap, Key, KeysOrValues, Sequence
from ..config import ComputeConfig
from ..sharding import batch_spec
from .attention import attention
from .fp8 import Fp8Linear
from .matmul import Linear
from .shapes import make_rngs

LAYER_NORM_EPSILON = 1e-5  # PyTorch's default; Flax's is 1e-6
GROUP_NORM_EPSILON = 1e-6
NUMBERS_IN_CACHE = 2**20  # 4 MiB of float32

# One object each: initialisers are part of a module's static structure, and two models share a tree structure, hence
# a compiled function, only if these are the same object.
normal_init = nnx.initializers.normal(0.02)
zeros_init = nnx.initializers.zeros_init()


class Buffer(nnx.Variable):
    """An array that belongs to a model but is not trained (a codebook map, a running mean)."""


def linear(
    in_features: int,
    out_features: int,
    compute: ComputeConfig = ComputeConfig(),
    *,
    rngs: nnx.Rngs,
    bias: bool = True,
    kernel_init: Callable = normal_init,
    out_dtype: str | None = None,
    fp8: bool = False,
) -> nnx.Linear:
    """Return a linear layer: kernel (in, out) from N(0, 0.02), bias zero.

    Args:
      out_dtype: the dtype of sums and result; by default the compute dtype.
      fp8: multiply in float8, and return the compute dtype.
    """
    make = Fp8Linear
    if not fp8:
        make = functools.partial(Linear, preferred_element_type=out_dtype)
    return make(
        in_features,
        out_features,
        use_bias=bias,
        kernel_init=kernel_init,
        bias_init=zeros_init,
        dtype=compute.dtype,
        param_dtype=compute.param_dtype,
        rngs=rngs,
    )


def embed(num_rows: int, width: int, compute: ComputeConfig = ComputeConfig(), *, rngs: nnx.Rngs) -> nnx.Embed:
    """Return a table (num_rows, width) from N(0, 0.02); read it with ``lookup``."""
    return nnx.Embed(
        num_rows, width, embedding_init=normal_init, dtype=compute.dtype, param_dtype=compute.param_dtype, rngs=rngs
    )


def lookup(table: nnx.Embed, indices: jax.Array) -> jax.Array:
    """Return rows of ``table`` in its compute dtype: (...) int -> (..., width).

    Indices are clipped to the table, as the reference sets negative ones to 0.
    """
    return jnp.take(replicated(table.embedding[...]), indices, axis=0, mode="clip").astype(table.dtype)


class LayerNorm(nnx.LayerNorm):
    """nnx.LayerNorm of the last axis, with scale and bias; statistics and its few parameters in float32.

    In bfloat16 on a TPU it is ``standardize``.
    """

    def __init__(self, width: int, compute: ComputeConfig = ComputeConfig(), *, rngs: nnx.Rngs):
        super().__init__(
            width,
            epsilon=LAYER_NORM_EPSILON,
            use_fast_variance=False,
            dtype=compute.dtype,
            param_dtype="float32",
            rngs=rngs,
        )

    # nnx.LayerNorm's mask is not taken.
    def __call__(self, x: jax.Array) -> jax.Array:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return x (..., width), normalised, scaled and shifted, in the compute dtype."""
        normalised = super().__call__
        if jnp.dtype(self.dtype) != jnp.bfloat16:
            return normalised(x)
        return jax.lax.platform_dependent(x, tpu=self._standardized, default=lambda x: normalised(x))

    def _standardized(self, x: jax.Array) -> jax.Array:
        assert self.scale is not None and self.bias is not None  # always made here
        return (standardize(x) * self.scale[...] + self.bias[...]).astype(self.dtype)


class GroupNorm(nnx.GroupNorm):
    """nnx.GroupNorm of (batch, height, width, channels), with float32 statistics and parameters.

    Means are taken over columns, rows and a group's channels in turn, which is up to three times as fast on a CPU as
    over all of them at once.  In bfloat16 on a TPU the variance is the mean square less the square of the mean: both
    sums are then taken where the map is made, in place of one more read of it.  Of a map in squares
    (``space_to_depth``) a group is its channels of all places of a square.
    """

    def __init__(self, channels: int, groups: int, compute: ComputeConfig = ComputeConfig(), *, rngs: nnx.Rngs):
        super().__init__(
            channels,
            num_groups=groups,
            epsilon=GROUP_NORM_EPSILON,
            dtype=compute.dtype,
            param_dtype="float32",
            rngs=rngs,
        )

    # nnx.GroupNorm's mask is not taken.
    def __call__(self, x: FeatureMap) -> FeatureMap:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the normalised feature map, in the compute dtype."""
        x = x.astype(jnp.float32)
        if jnp.dtype(self.dtype) != jnp.bfloat16:
            return self._in_two_passes(x)
        return jax.lax.platform_dependent(x, tpu=self._in_one_pass, default=self._in_two_passes)

    def _in_two_passes(self, x: jax.Array) -> jax.Array:
        centered = x - self._mean(x)
        scale, bias = self._scale_and_bias(self._mean(jnp.square(centered)))
        return (centered * scale + bias).astype(self.dtype)

    def _in_one_pass(self, x: jax.Array) -> jax.Array:
        # Means over rows and columns at once, and the mean taken off the bias in place of x: in other forms the
        # compiler joins only one of the sums to what makes x.
        mean, square = (self._of_group(sums.mean((1, 2))) for sums in (x, jnp.square(x)))
        scale, bias = self._scale_and_bias(_variance(mean, square))
        return (x * scale + (bias - mean * scale)).astype(self.dtype)

    def _scale_and_bias(self, variance: jax.Array) -> tuple[jax.Array, jax.Array]:
        assert self.scale is not None and self.bias is not None  # always made here
        return jax.lax.rsqrt(variance + self.epsilon) * self.scale[...], self.bias[...]

    def _mean(self, x: jax.Array) -> jax.Array:
        """Return the mean of each channel's group: (batch, 1, 1, channels)."""
        return self._of_group(x.mean(2).mean(1))

    def _of_group(self, means: jax.Array) -> jax.Array:
        """Return the mean over each channel's group of (batch, channels): (batch, 1, 1, channels)."""
        places = means.shape[-1] // (self.num_groups * self.group_size)
        by_group = means.reshape(means.shape[0], places, self.num_groups, -1).mean((1, 3))
        return jnp.tile(jnp.repeat(by_group, self.group_size, axis=-1), places)[:, None, None]


def standardize(x: jax.Array, axis: int = -1) -> jax.Array:
    """LayerNorm without scale or bias over one axis, computed and returned in float32.

    Of bfloat16 on a TPU the variance comes from sums of values and squares, which are taken where x is made, as in
    ``GroupNorm``.
    """
    if x.dtype == jnp.bfloat16:
        one, two = (functools.partial(form, axis=axis) for form in (_standardize_in_one_pass, _standardize))
        return jax.lax.platform_dependent(x, tpu=one, default=two)
    return _standardize(x, axis)


def _standardize(x: jax.Array, axis: int) -> jax.Array:
    x = x.astype(jnp.float32)
    centered = x - x.mean(axis, keepdims=True)
    return centered * jax.lax.rsqrt(jnp.square(centered).mean(axis, keepdims=True) + LAYER_NORM_EPSILON)


def _standardize_in_one_pass(x: jax.Array, axis: int) -> jax.Array:
    x = x.astype(jnp.float32)
    mean, square = x.mean(axis, keepdims=True), jnp.square(x).mean(axis, keepdims=True)
    scale = jax.lax.rsqrt(_variance(mean, square) + LAYER_NORM_EPSILON)
    return x * scale - mean * scale


def _variance(mean: jax.Array, square: jax.Array) -> jax.Array:
    """Return the variance by the means of values and of squares.

    Rounding may take the difference below 0, by less than the rounding of bfloat16 inputs changes it.
    """
    return jnp.maximum(square - jnp.square(mean), 0.0)


def gelu2(x: jax.Array) -> jax.Array:
    """Return x * sigmoid(1.702 x), which CLIP calls QuickGELU and the reference GELU2."""
    return _in_float32(lambda x: x * jax.nn.sigmoid(1.702 * x), x)


def gelu(x: jax.Array) -> jax.Array:
    """Return x * Phi(x) with the exact error function."""
    return _in_float32(functools.partial(jax.nn.gelu, approximate=False), x)


def _in_float32(activation: Callable[[jax.Array], jax.Array], x: jax.Array) -> jax.Array:
    """Return ``activation(x)``, computed in float32; for the gradient x itself is kept, not its float32 copies."""
    if x.dtype == jnp.float32:
        return activation(x)
    return jax.checkpoint(lambda x: activation(x.astype(jnp.float32)).astype(x.dtype))(x)


ACTIVATION_FUNCTIONS = {"gelu2": gelu2, "gelu": gelu}


def dropout(x: jax.Array, rate: float, key: Key | None) -> jax.Array:
    """Return x after inverted dropout; x itself without a key or at rate 0."""
    if key is None or rate == 0.0:
        return x
    kept = jax.random.bernoulli(key, 1.0 - rate, x.shape)
    return jnp.where(kept, x / (1.0 - rate), jnp.zeros_like(x))


class Mlp(nnx.Module):
    """Linear, activation and linear over the last axis: parameters ``up`` (width, hidden) and ``down``."""

    def __init__(
        self,
        width: int,
        hidden: int,
        activation: str = "gelu2",
        compute: ComputeConfig = ComputeConfig(),
        *,
        fp8: bool = False,
        rngs: nnx.Rngs,
    ):
        self.up = linear(width, hidden, compute, fp8=fp8, rngs=rngs)
        self.down = linear(hidden, width, compute, fp8=fp8, rngs=rngs)
        self.activation = activation

    def __call__(self, x: jax.Array) -> jax.Array:
        # A TPU's compiler may make one kernel of both products, at half of their speed.
        hidden = jax.lax.platform_dependent(self.up(x), tpu=jax.lax.optimization_barrier, default=lambda x: x)
        return self.down(ACTIVATION_FUNCTIONS[self.activation](hidden))


class Attention(nnx.Module):
    """Multi-head attention: parameters ``query``, ``key``, ``value``, ``out``, each a linear layer with bias.

    ``context_width`` is the width of the context that keys and values are made of (cross attention); by default they
    are made of the queries' own input.
    """

    def __init__(
        self,
        width: int,
        num_heads: int,
        compute: ComputeConfig = ComputeConfig(),
        *,
        context_width: int | None = None,
        fp8: bool = False,
        rngs: nnx.Rngs,
    ):
        context_width = width if context_width is None else context_width
        self.query = linear(width, width, compute, fp8=fp8, rngs=rngs)
        self.key = linear(context_width, width, compute, fp8=fp8, rngs=rngs)
        self.value = linear(context_width, width, compute, fp8=fp8, rngs=rngs)
        self.out = linear(width, width, compute, fp8=fp8, rngs=rngs)
        self.num_heads = num_heads
        self.implementation = compute.attention

    def keys_values(self, context: Sequence) -> tuple[KeysOrValues, KeysOrValues]:
        """Return keys and values, each (batch, context, heads, head width), of (batch, context, context width)."""
        return self._split(self.key(context)), self._split(self.value(context))

    def __call__(
        self,
        x: Sequence,
        keys_values: tuple[KeysOrValues, KeysOrValues] | None = None,
        *,
        causal: bool = False,
        dropout_rate: float = 0.0,
        dropout_key: Key | None = None,
    ) -> Sequence:
        """Return x (batch, length, width) after attention to ``keys_values``, by default to itself; the same shape."""
        key, value = self.keys_values(x) if keys_values is None else keys_values
        mixed = attention(
            self._split(self.query(x)),
            key,
            value,
            causal=causal,
            implementation=self.implementation,
            dropout_rate=dropout_rate,
            dropout_key=dropout_key,
        )
        return self.out(mixed.reshape(x.shape))

    def _split(self, x: jax.Array) -> jax.Array:
        return x.reshape(*x.shape[:-1], self.num_heads, -1)


def stack(make_block: Callable[[nnx.Rngs], Any], n: int, rngs: nnx.Rngs) -> Any:
    """Return n blocks, each initialised from its own key, as one block whose every leaf has a leading layer axis."""
    return jax.vmap(lambda key: make_block(make_rngs(key)))(jax.random.split(rngs.params(), n))


def over_batch(x: jax.Array) -> jax.Array:
    """Return x (batch, ...) with its samples spread over the ambient mesh, if there is one (``sharding.on_mesh``).

    Weights split by features meet activations split by samples on the same devices.  By itself the partitioner may
    keep the weights where they are and give every device the whole batch; with this constraint it gathers the weights.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or not {"data", "fsdp"} <= set(mesh.axis_names):
        return x
    return jax.lax.with_sharding_constraint(x, batch_spec(mesh, x.shape[0]))


def replicated(table: jax.Array) -> jax.Array:
    """Return ``table`` gathered on every device of the ambient mesh, so that each reads its own samples' rows."""
    return table if jax.sharding.get_abstract_mesh().empty else jax.lax.with_sharding_constraint(table, P())


def sample_by_sample(run: Callable[..., jax.Array], numbers: int, *batched: Any) -> jax.Array:
    """Return ``run(*batched)``, computed on a CPU one sample at a time.

    The first array and the result have a leading batch axis; the others too, or an axis of size 1 if all samples share
    them.

    numbers: the size of a sample's widest activation.  Samples small enough to stay in the cache together run together,
    as do all samples that the ambient mesh spreads over devices.
    """
    batch = jax.tree.leaves(batched)[0].shape[0]
    if batch == 1 or numbers < NUMBERS_IN_CACHE or not jax.sharding.get_abstract_mesh().empty:
        return run(*batched)

    def one_by_one(*batched):
        batched = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (batch, *leaf.shape[1:])), batched)
        return jax.lax.map(lambda sample: run(*jax.tree.map(lambda leaf: leaf[None], sample))[0], batched)

    return jax.lax.platform_dependent(*batched, cpu=one_by_one, default=lambda *batched: run(*batched))


class Apart(nnx.List):
    """The blocks of a stack as a list."""


def apart(stacked: Any) -> Apart:
    """Return the blocks of a stack, each with arrays of its own, for ``scan_layers`` without a scan.

    A GPU copies each layer's slice of a stack before it reads it.  Blocks set apart before a loop are read in place in
    every turn, for a second copy of the weights.
    """
    return Apart([jax.tree.map(operator.itemgetter(i), stacked) for i in range(len(jax.tree.leaves(stacked)[0]))])


def scan_layers(
    body: Callable[[jax.Array, Any], jax.Array], x: jax.Array, stacked: Any, compute: ComputeConfig
) -> jax.Array:
    """Return x after ``x = body(x, layer)`` for each slice of ``stacked`` along its leading layer axis.

    One layer is traced under ``lax.scan``, or all are unrolled (``compute.scan_layers``); then a part of ``stacked``
    may be blocks set apart (``apart``).  ``compute.remat`` recomputes each layer's activations in the backward pass.
    """

    def on_mesh(x, layer):
        return over_batch(body(over_batch(x), layer))

    # Inside scan the loop itself keeps XLA from merging the recomputation with the forward pass.
    step = jax.checkpoint(on_mesh, prevent_cse=not compute.scan_layers) if compute.remat else on_mesh
    if compute.scan_layers:
        return jax.lax.scan(lambda x, layer: (step(x, layer), None), x, stacked)[0]

    def whole(part):
        return isinstance(part, Apart)

    for i in range(len(jax.tree.leaves(stacked, is_leaf=whole)[0])):
        x = step(x, jax.tree.map(operator.itemgetter(i), stacked, is_leaf=whole))
    return x
