"""The placement of every array on a mesh of (data, fsdp, tensor).

A model knows nothing of devices.  ``ShardingRules`` is a table from parameter paths to PartitionSpecs; ``shardings``
reads it for any module, real or abstract, and leaves out mesh axes that do not divide a dimension (a codebook of 2887
codes, a token table of 4097 rows), so that every mesh is legal.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from .errors import SettingError
from .paths import path_of

AXES = ("data", "fsdp", "tensor")


def make_mesh(data: int = -1, fsdp: int = 1, tensor: int = 1, *, devices=None) -> Mesh:
    """Return a mesh over ``devices`` (default: all); one size may be -1 and becomes as large as the devices allow.

    Raises:
      ValueError: sizes whose product is not the number of devices.
    """
    devices = jax.devices() if devices is None else devices
    sizes = [data, fsdp, tensor]
    if sizes.count(-1) > 1 or any(size != -1 and size < 1 for size in sizes):
        told = "{mesh} is {value} (data, fsdp, tensor); sizes must be at least 1, and only one may be -1"
        raise SettingError(told, value=(data, fsdp, tensor))
    if -1 in sizes:
        sizes[sizes.index(-1)] = len(devices) // int(np.prod([size for size in sizes if size != -1])) or 1
    if np.prod(sizes) != len(devices):
        told = "{mesh} is {value} (data, fsdp, tensor), which needs {needed} devices; there are {count}"
        raise SettingError(told, value=tuple(sizes), needed=np.prod(sizes), count=len(devices))
    return jax.make_mesh(tuple(sizes), AXES, axis_types=(AxisType.Auto,) * len(AXES), devices=devices)


@dataclass(frozen=True, kw_only=True)
class ShardingRules:
    """PartitionSpecs by role, for the trailing dimensions of a parameter.

    A leading axis of stacked layers is never split: each scanned step reads one layer, so that fsdp gathers one layer
    at a time.
    """

    into_heads: P = P("fsdp", "tensor")  # query, key, value, mlp.up: columns are split
    out_of_heads: P = P("tensor", "fsdp")  # attention out, mlp.down: rows are split
    table: P = P(None, "fsdp")  # embeddings, codebook: features are split
    linear: P = P("fsdp", "tensor")  # AdaLN projections, logits
    vector: P = P()  # biases, norms, buffers
    batch: P = P(("data", "fsdp"))  # images: fsdp devices take different images too

    def spec(self, path: str, ndim: int) -> P:
        """Return the spec of the parameter at the dotted ``path``, which has ``ndim`` dimensions."""
        for pattern, role, trailing in _ROLES:
            if re.search(pattern, path) and ndim >= trailing:
                return P(*(None,) * (ndim - trailing), *getattr(self, role))
        return self.vector


# (pattern of the path, role, number of trailing dimensions that the role describes)
_ROLES = (
    (r"\.(query|key|value|up)\.kernel$", "into_heads", 2),
    (r"\.(out|down)\.kernel$", "out_of_heads", 2),
    (r"\.(linear|logits|proj)\.kernel$|^logits\.kernel$", "linear", 2),
    (r"embedding\.embedding$|\.codebook$", "table", 2),
    (r"kernel$|projection$", "linear", 2),
)


def divisible_spec(spec: P, shape: tuple[int, ...], mesh: Mesh | AbstractMesh) -> P:
    """Return ``spec`` without the mesh axes whose size does not divide the dimension that they split."""
    padded = tuple(spec) + (None,) * (len(shape) - len(spec))
    parts = [_parts(axes, mesh) for axes in padded]
    return P(*(axes if n > 1 and size % n == 0 else None for axes, n, size in zip(padded, parts, shape, strict=False)))


def is_divisible(spec: P, shape: tuple[int, ...], mesh: Mesh | AbstractMesh) -> bool:
    """Return whether every dimension of ``shape`` is split evenly by ``spec``."""
    return all(size % _parts(axes, mesh) == 0 for axes, size in zip(spec, shape, strict=False))


def _parts(axes: str | tuple[str, ...] | None, mesh: Mesh | AbstractMesh) -> int:
    """Return the number of parts that mesh axes split a dimension into."""
    return math.prod(mesh.shape[name] for name in ((axes,) if isinstance(axes, str) else axes or ()))


def shardings(tree: Any, mesh: Mesh | AbstractMesh, rules: ShardingRules = ShardingRules()) -> Any:
    """Return a NamedSharding for every leaf of ``tree`` (arrays or ShapeDtypeStructs), in the same structure."""

    def one(key_path, leaf):
        return NamedSharding(mesh, divisible_spec(rules.spec(path_of(key_path), leaf.ndim), leaf.shape, mesh))

    return jax.tree_util.tree_map_with_path(one, tree)


def shard(tree: Any, mesh: Mesh, rules: ShardingRules = ShardingRules()) -> Any:
    """Return ``tree`` with every leaf placed by ``rules``.

    Of several processes, each has the whole tree, on its host or its own devices.
    """
    placements = shardings(tree, mesh, rules)
    return jax.tree.map(place, tree, placements) if mesh.is_multi_process else jax.device_put(tree, placements)


def place(leaf: Any, sharding: NamedSharding) -> jax.Array:
    """Return ``leaf`` placed so; on devices of several processes an array on the devices of one cannot be sent."""
    if not sharding.mesh.is_multi_process or isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        return jax.device_put(leaf, sharding)
    host = np.asarray(leaf)
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])


def batch_spec(mesh: Mesh | AbstractMesh, batch: int, rules: ShardingRules = ShardingRules()) -> P:
    """Return the spec of a leading axis of ``batch`` samples: data and fsdp, or the one of them that divides it."""
    for axes in (rules.batch, P("data"), P("fsdp")):
        if (spec := divisible_spec(axes, (batch,), mesh)) != P(None):
            return spec
    return P()


def batch_sharding(mesh: Mesh, batch: int, rules: ShardingRules = ShardingRules()) -> NamedSharding:
    """Return ``batch_spec`` on the devices of ``mesh``."""
    return NamedSharding(mesh, batch_spec(mesh, batch, rules))


def compiler_options(mesh: Mesh) -> dict[str, str]:
    """Return options of the compiler for a train step on ``mesh``: on TPUs that split weights, gather them whole.

    By itself the TPU's compiler cuts a product with a split weight into as many narrow ones as there are parts, and
    passes the parts around; a part of 1408 / 16 features fills two thirds of its unit, and the products take most of
    the step (docs/results/scaling_plan.md).
    """
    if mesh.devices.flat[0].platform != "tpu" or mesh.shape["fsdp"] * mesh.shape["tensor"] == 1:
        return {}
    return {"xla_jf_spmd_threshold_for_windowed_einsum_mib": str(2**20)}  # of a weight from which on it does so


def on_mesh(function: Callable, mesh: Mesh) -> Callable:
    """Return ``function``, traced with ``mesh`` as the ambient one, on which layers place activations; for jax.jit."""

    @functools.wraps(function)
    def traced(*args, **kwargs):
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return function(*args, **kwargs)

    return traced
