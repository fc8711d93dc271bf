"""Scaled dot-product attention, one function over several implementations.

Scores and softmax are float32 for inputs of any dtype, and all implementations agree to rounding.  ``auto`` decides
when a program is lowered for a platform, not when it is traced, so that one trace serves several platforms.
"""

from __future__ import annotations

import functools
import warnings
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh, AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from ..array_types import Key, KeysOrValues, Queries
from ..config import ATTENTIONS
from ..sharding import is_divisible
from . import attention_tpu

# On a CPU, one head after the other is faster than all at once if a sample has more scores than this (8 MiB).
SCORES_AT_ONCE = 2**21
MOST_SCORES = 2**26  # of a whole batch: 256 MiB
QUERY_BLOCK = 1024  # queries of a long sequence that one head takes at a time
HALF_DTYPES = ("bfloat16", "float16")


@jax.named_scope("attention")
def attention(
    query: Queries,
    key: KeysOrValues,
    value: KeysOrValues,
    *,
    causal: bool = False,
    implementation: str = "auto",
    dropout_rate: float = 0.0,
    dropout_key: Key | None = None,
) -> Queries:
    """Return softmax(query key^T / sqrt(head width)) value of every head (Vaswani et al. 2017, equation 1).

    Args:
      query: (batch, length, heads, head width).
      key, value: (batch, context, heads, head width).
      causal: position i sees keys 0..i only.
      implementation: one of ``config.ATTENTIONS``.
      dropout_rate, dropout_key: dropout on the attention weights, which always takes the plain form, as it needs the
        whole map.

    Returns:
      (batch, length, heads, head width) in the query's dtype.

    Raises:
      ValueError: an unknown implementation.
    """
    if implementation not in ATTENTIONS:
        raise ValueError(f"attention implementation is {implementation!r}; allowed: {', '.join(ATTENTIONS)}")
    if dropout_key is not None and dropout_rate > 0.0:
        return _plain(query, key, value, causal=causal, dropout_rate=dropout_rate, dropout_key=dropout_key)
    if implementation == "xla":
        return _xla(query, key, value, causal=causal)
    if implementation == "blocked":
        return _blocked(query, key, value, causal=causal)

    cudnn = _cudnn_supports(query.shape[1:], key.shape[1:], query.dtype.name, causal, implementation == "cudnn")
    scores = query.shape[1] * key.shape[1] * query.shape[2]
    blocks_help = (scores > SCORES_AT_ONCE or scores * query.shape[0] > MOST_SCORES) and not _heads_are_split()
    return jax.lax.platform_dependent(
        query,
        key,
        value,
        cpu=functools.partial(_blocked if blocks_help else _plain, causal=causal),
        cuda=(lambda *qkv: _cudnn(*qkv, causal)) if cudnn else functools.partial(_xla, causal=causal),
        default=functools.partial(_xla_or_fused, causal=causal),
    )


def _xla_or_fused(query: jax.Array, key: jax.Array, value: jax.Array, *, causal: bool) -> jax.Array:
    """Attention on accelerators but NVIDIA's: one kernel on a TPU, where it takes these arrays, else XLA's form."""
    split = _split_by_sample_and_head(query)
    if causal or split is None:
        return _xla(query, key, value, causal=causal)
    mesh, spec = split
    shard, keys = query, key
    if mesh is not None:
        shard, keys = (
            jax.ShapeDtypeStruct(NamedSharding(mesh, spec).shard_shape(array.shape), array.dtype)
            for array in (query, key)
        )
    if not attention_tpu.supports(shard, keys):
        return _xla(query, key, value, causal=causal)
    if mesh is None:
        return _fused_on_tpu(query, key, value)
    # A partitioner cannot split the kernel, so that each device is given its own samples and heads.
    return jax.shard_map(_fused_on_tpu, in_specs=(spec,) * 3, out_specs=spec, check_vma=False)(query, key, value)


def _split_by_sample_and_head(query: jax.Array) -> tuple[AbstractMesh | None, P] | None:
    """Return the ambient mesh and how it splits (batch, length, heads, head width); None if it cannot do so evenly."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return None, P()
    if any(kind != AxisType.Auto for kind in mesh.axis_types):
        return None
    samples = tuple(axis for axis in ("data", "fsdp") if axis in mesh.shape)
    heads = "tensor" if "tensor" in mesh.shape else None
    spec = P(samples, None, heads, None)
    return (mesh, spec) if is_divisible(spec, query.shape, mesh) else None


@jax.custom_vjp
def _fused_on_tpu(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
    return jax.lax.platform_dependent(query, key, value, tpu=attention_tpu.fused, default=_unmasked)


def _forward(query: jax.Array, key: jax.Array, value: jax.Array) -> tuple[jax.Array, tuple]:
    return _fused_on_tpu(query, key, value), (query, key, value)


def _backward(kept: tuple, cotangent: jax.Array) -> tuple:
    def through_xla(query, key, value, cotangent):
        return jax.vjp(_unmasked, query, key, value)[1](cotangent)

    return jax.lax.platform_dependent(*kept, cotangent, tpu=attention_tpu.gradients, default=through_xla)


_unmasked = functools.partial(jax.nn.dot_product_attention, implementation="xla")

_fused_on_tpu.defvjp(_forward, _backward)


def _xla(query: jax.Array, key: jax.Array, value: jax.Array, *, causal: bool) -> jax.Array:
    return jax.nn.dot_product_attention(query, key, value, is_causal=causal, implementation="xla")


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _cudnn(query: jax.Array, key: jax.Array, value: jax.Array, causal: bool) -> jax.Array:
    return jax.nn.dot_product_attention(query, key, value, is_causal=causal, implementation="cudnn")


def _cudnn_forward(query: jax.Array, key: jax.Array, value: jax.Array, causal: bool) -> tuple[jax.Array, Any]:
    # CLIP's context of 77 is odd.  JAX takes odd lengths in the forward pass alone.
    return jax.vjp(functools.partial(evened, causal=causal, implementation="cudnn"), query, key, value)


def _cudnn_backward(causal: bool, backward: Any, cotangent: jax.Array) -> tuple[jax.Array, ...]:
    return backward(cotangent)


_cudnn.defvjp(_cudnn_forward, _cudnn_backward)


def evened(query: jax.Array, key: jax.Array, value: jax.Array, *, causal: bool, implementation: Any) -> jax.Array:
    """Return ``jax.nn.dot_product_attention`` of lengths that are filled up to even ones; no query sees the filling."""
    length, context = query.shape[1], key.shape[1]

    def even(x: jax.Array) -> jax.Array:
        return jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, 0), (0, 0))) if x.shape[1] % 2 else x

    # A causal query sees no later key, so that filling behind the keys needs no mask of its own.
    lengths = jnp.full(key.shape[:1], context, jnp.int32) if context % 2 and not causal else None
    mixed = jax.nn.dot_product_attention(
        even(query),
        even(key),
        even(value),
        is_causal=causal,
        key_value_seq_lengths=lengths,
        implementation=implementation,
    )
    return mixed[:, :length]


def _plain(query: jax.Array, key: jax.Array, value: jax.Array, **options) -> jax.Array:
    mixed = _head_major(_scaled(query).swapaxes(1, 2), key.swapaxes(1, 2), value.swapaxes(1, 2), **options)
    return mixed.swapaxes(1, 2)


def _heads_are_split() -> bool:
    """Return whether the ambient mesh spreads heads over devices, which then cannot take turns."""
    mesh = jax.sharding.get_abstract_mesh()
    return not mesh.empty and mesh.shape.get("tensor", 1) > 1


def _blocked(query: jax.Array, key: jax.Array, value: jax.Array, *, causal: bool) -> jax.Array:
    """Return the plain form, head after head and a long sequence in blocks of queries, so that scores fit a cache."""
    batch, length, heads, width = query.shape
    num_blocks = -(-length // QUERY_BLOCK)
    rows = -(-length // num_blocks)
    query = jnp.pad(_scaled(query), ((0, 0), (0, num_blocks * rows - length), (0, 0), (0, 0)))
    blocks = query.reshape(batch, num_blocks, rows, heads, width).transpose(3, 1, 0, 2, 4)
    firsts = jnp.arange(num_blocks) * rows

    # Recomputing a block's scores in the backward pass keeps memory linear in the length at no measured cost on CPU.
    @jax.checkpoint
    def block(query, key, value, first):
        return _head_major(query[:, None], key[:, None], value[:, None], causal=causal, first=first)[:, 0]

    def head(args):
        blocks, key, value = args
        return jax.lax.map(lambda part: block(part[0], key, value, part[1]), (blocks, firsts))

    mixed = jax.lax.map(head, (blocks, key.transpose(2, 0, 1, 3), value.transpose(2, 0, 1, 3)))
    return mixed.transpose(2, 1, 3, 0, 4).reshape(batch, num_blocks * rows, heads, width)[:, :length]


def _scaled(query: jax.Array) -> jax.Array:
    return (query.astype(jnp.float32) * query.shape[-1] ** -0.5).astype(query.dtype)


def _head_major(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    *,
    causal: bool,
    first: jax.Array | int = 0,
    dropout_rate: float = 0.0,
    dropout_key: jax.Array | None = None,
) -> jax.Array:
    """Attention of a scaled query (batch, heads, T, head width) to key and value (batch, heads, S, head width).

    Returns the query's shape.  ``first`` is the position of the first query row, for ``causal``.
    """
    scores = jnp.einsum("bhtd,bhsd->bhts", query, key, preferred_element_type=jnp.float32)
    if causal:
        visible = first + jnp.arange(query.shape[2])[:, None] >= jnp.arange(key.shape[2])
        scores = jnp.where(visible, scores, -jnp.inf)
    weights = jnp.exp(scores - jax.lax.stop_gradient(scores.max(-1, keepdims=True)))
    # Dividing after the product touches T x head width numbers instead of T x S.
    total = weights.sum(-1, keepdims=True)
    if dropout_key is not None:
        kept = jax.random.bernoulli(dropout_key, 1.0 - dropout_rate, weights.shape)
        weights = jnp.where(kept, weights / (1.0 - dropout_rate), 0.0)
    mixed = jnp.einsum("bhts,bhsd->bhtd", weights.astype(value.dtype), value, preferred_element_type=jnp.float32)
    return (mixed / total).astype(query.dtype)


@functools.cache
def _cudnn_supports(query_shape: tuple, key_shape: tuple, dtype: str, causal: bool, asked_for: bool) -> bool:
    """Return whether cuDNN's attention is taken for these (length, heads, head width).

    Warns if it was asked for, or expected to work, and is not.
    """
    refusal = cudnn_refusal(query_shape, key_shape, dtype, causal)
    # In a process without a GPU few programs are lowered for one, and nobody need hear of the others.
    if refusal and (asked_for or (jax.default_backend() == "gpu" and dtype in HALF_DTYPES)):
        warnings.warn(refusal, stacklevel=3)
    return refusal is None


@functools.cache
def cudnn_refusal(query_shape: tuple, key_shape: tuple, dtype: str, causal: bool = False) -> str | None:
    """Return in a line why a program for an NVIDIA GPU does without cuDNN's attention, or None if it has it.

    Shapes are (length, heads, head width).  Those that cuDNN takes depend on its version and the GPU, so it is asked,
    once a shape, to compile the forward and the backward pass.  In a process without a GPU a program may be lowered for
    one; JAX's own rules decide then, which need cuDNN's package installed (nvidia-cudnn-cu13, or -cu12).
    """
    if dtype not in HALF_DTYPES:
        return f"attention='cudnn' needs a CUDA GPU and {' or '.join(HALF_DTYPES)}, not {dtype}; using 'auto'"
    query = jax.ShapeDtypeStruct((1, *query_shape), dtype)
    key = jax.ShapeDtypeStruct((1, *key_shape), dtype)
    forward = functools.partial(_cudnn, causal=causal)
    gradient = jax.grad(lambda *qkv: forward(*qkv).astype(jnp.float32).sum(), argnums=(0, 1, 2))
    try:
        for function in (forward, gradient):
            lowered = jax.jit(function).trace(query, key, key).lower(lowering_platforms=("cuda",))
            if jax.default_backend() == "gpu":
                lowered.compile()
    except Exception as error:  # cuDNN, XLA and JAX each refuse in their own type; any refusal means the same
        reason = str(error).strip().split("\n")[0]
        return f"cuDNN attention is not available for query {query_shape} in {dtype}, using XLA's: {reason}"
    return None
