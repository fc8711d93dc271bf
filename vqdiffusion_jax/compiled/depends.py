"""What compiled programs depend on, as tables and a digest, and the first field in which two tables differ."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
import re
import sys
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import jax
from jax.sharding import Mesh

from ..call import Call
from ..config import ComputeConfig, ModelConfig
from ..config_table import to_dict
from ..errors import shown
from ..generation import Condition
from ..processor import features
from ..sampling.strategy import for_steps

FORMAT = 1  # of the file
_PLUGINS = {"tpu": "libtpu", "cuda": "jax-cuda13-plugin"}
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def machine(device: Any, mesh: Mesh | None) -> dict[str, Any]:
    """Return what a program depends on besides model and settings: versions, the kind of device, and the mesh."""
    kind = "cuda" if device.platform in ("gpu", "cuda") else device.platform
    version = sys.modules[__name__.partition(".")[0]].__version__  # a checkout need not be installed
    table: dict[str, Any] = {"format": FORMAT, "vqdiffusion-jax": version}
    table |= {name: _version(name) for name in ("jax", "jaxlib", *([_PLUGINS[kind]] if kind in _PLUGINS else []))}
    table["device"] = device.device_kind if kind != "cpu" else f"cpu, {platform.machine()} {_instructions()}"
    table["mesh"] = None if mesh is None else list(mesh.devices.shape)
    return table


def model_table(config: ModelConfig, compute: ComputeConfig) -> dict[str, Any]:
    """Return what programs depend on of a model."""
    return {"model": to_dict(config), "compute": to_dict(compute)}


def settings_table(call: Call, batch: int, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what programs depend on of a call.  batch: pictures drawn together; options: of ``generate``."""
    guidance = "off" if call.null is None else "on" if call.guidance.interval is None else "on in an interval"
    begun = call.given.tokens is not None or call.given.images is not None
    of_jax: Any = jax.config  # whose fields JAX makes at run time
    return plain(
        {
            "batch_size": batch,
            "strategy": _kind(for_steps(call.strategy)),
            "guidance": guidance,
            "condition": _form(call.condition),
            "null condition": _form(call.null),
            "truncation": _kind(call.truncation),
            "start": "a given picture" if begun else "[MASK] everywhere",
            "noise": type(call.noise).__name__,
            "rows of the plan": len(call.plan.padded()),
            "precision of products": of_jax.jax_default_matmul_precision or "default",
            "64-bit types": of_jax.jax_enable_x64,
            "random numbers": of_jax.jax_default_prng_impl,
            **options,
        }
    )


def difference(file: Any, here: Any, where: str = "") -> str | None:
    """Return the first field in which two tables differ, with both values, or None."""
    if isinstance(file, dict) and isinstance(here, dict):
        for name in {**here, **file}:
            if found := difference(file.get(name), here.get(name), f"{where}.{name}" if where else name):
                return found
        return None
    return None if file == here else f"{where} is {shown(file)} in the file, and {shown(here)} here"


def signature(arguments: tuple, static: Mapping[str, Any]) -> str:
    """Return a digest of all that decides a program: the arguments' structure, shapes and types, and what is static."""
    leaves, structure = jax.tree.flatten(arguments)
    shapes = [(jax.numpy.shape(leaf), str(jax.dtypes.result_type(leaf))) for leaf in leaves]
    told = _ADDRESS.sub("", f"{structure} {shapes} {sorted(static.items())}")
    return hashlib.sha256(told.encode()).hexdigest()


def _form(condition: Condition | None) -> str | None:
    """Return what a program depends on of a condition, in words, or None without one."""
    if condition is None:
        return None
    told = {"class labels": condition.labels, "token ids": condition.ids, "text states": condition.embedding}
    given = [f"{name} {value.shape[1:]} {value.dtype}" for name, value in told.items() if value is not None]
    return ", ".join(given) or "the model's own"


def _kind(value: Any) -> str:
    """Return the class of a strategy or truncation, and those of its fields that programs depend on."""
    fields = dataclasses.fields(value) if dataclasses.is_dataclass(value) else ()
    fixed = [
        f"{one.name}={getattr(value, one.name)!r}"
        for one in fields
        if one.metadata.get("static") and not one.metadata.get("plan_only")
    ]
    return f"{type(value).__name__}({', '.join(fixed)})"


def plain(table: dict[str, Any]) -> dict[str, Any]:
    """Return a table as it comes back from JSON."""
    return json.loads(json.dumps(table))


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _instructions() -> str:
    """Return a digest of the instructions that this machine's processor has, for which XLA compiles."""
    named = features()
    return hashlib.sha256(" ".join(sorted(named)).encode()).hexdigest()[:12] if named else platform.processor()
