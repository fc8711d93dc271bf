"""The programs of a sampler, compiled for a target from shapes alone and written to a file."""

from __future__ import annotations

import contextlib
import functools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
from jax.experimental import serialize_executable
from jax.experimental.compilation_cache import compilation_cache
from jax.sharding import Mesh, NamedSharding, SingleDeviceSharding
from jax.sharding import PartitionSpec as P

from ..call import Call
from ..config import ComputeConfig
from ..generation import JITTED, PIECES, Pieces, Request, generate_in_pieces
from ..models.vqdiffusion import VQDiffusionModel
from ..sharding import batch_sharding, shardings
from ..targets import Target
from .depends import machine, model_table, settings_table, signature
from .file import write_programs
from .known_names import check_names


@dataclass(frozen=True)
class ProgramCost:
    """A compiler's account of one program: its seconds, bytes on a device, and bytes of its serialised form."""

    name: str
    seconds: float
    arguments: int
    results: int
    temporaries: int
    code: int
    serialised: int


def compile_sampler(
    file: Path,
    model: VQDiffusionModel,
    compute: ComputeConfig,
    request: Request,
    call: Call,
    options: dict[str, Any],
    target: Target,
    mesh: Mesh | None = None,
    *,
    told: Callable[[ProgramCost], None] = lambda cost: None,
) -> int:
    """Compile the pieces of a run for ``target``, from shapes alone, and write ``file``.

    Args:
      model: its shapes are enough.
      compute: of the model.
      request: of the call's first batch, with the number of network calls as data.
      options: ``output``, ``rounding`` and ``keep_trajectory`` of ``generate``.
      mesh: of the target's devices, or None for its first.
      told: is given each program's cost as soon as it is compiled.

    Returns:
      The bytes that a device needs at most: the model, what is prepared, and the largest program's own.
    """
    batch = len(request.start)
    everywhere = SingleDeviceSharding(target.devices[0]) if mesh is None else NamedSharding(mesh, P())
    split = everywhere if mesh is None else batch_sharding(mesh, batch)
    over = jax.tree.map(lambda leaf: everywhere, model) if mesh is None else shardings(model, mesh)
    model = jax.tree.map(_placed, model, over)
    rows = {name: getattr(request, name) for name in ("condition", "null", "noise", "start")}
    request = replace(request, **jax.tree.map(lambda leaf: _placed(leaf, split), rows))
    signatures: dict[str, str] = {}
    payloads: dict[str, bytes] = {}
    costs: dict[str, ProgramCost] = {}

    def piece(name: str, *arguments: Any, **static: Any) -> Any:
        arguments = jax.tree.map(lambda leaf: _placed(leaf, everywhere), arguments)
        started = time.perf_counter()
        with _on(mesh), _no_compilation_cache():
            traced = getattr(JITTED, name).trace(*arguments, **static)
            program = traced.lower(lowering_platforms=(target.platform,)).compile()
        seconds = time.perf_counter() - started
        payload, *_ = serialize_executable.serialize(program)
        check_names(payload, "what JAX writes of this program")
        memory = program.memory_analysis()
        sizes = (memory.argument_size_in_bytes, memory.output_size_in_bytes, memory.temp_size_in_bytes)
        signatures[name], payloads[name] = signature(arguments, static), payload
        costs[name] = ProgramCost(name, seconds, *sizes, memory.generated_code_size_in_bytes, len(payload))
        told(costs[name])
        return jax.tree.map(
            lambda leaf, where: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where),
            traced.out_info,
            program.output_shardings,
        )

    pieces = Pieces(**{name: functools.partial(piece, name) for name in PIECES})
    generate_in_pieces(model, request, None, len(call.plan), **options, pieces=pieces)
    header = machine(target.devices[0], mesh) | model_table(model.config, compute)
    header |= {"settings": settings_table(call, batch, options), "target": target.name, "arguments": signatures}
    write_programs(file, header, payloads)
    held = sum(math.prod(one.sharding.shard_shape(one.shape)) * one.dtype.itemsize for one in jax.tree.leaves(model))
    return held + costs["prepare"].results + max(one.results + one.temporaries + one.code for one in costs.values())


def _placed(leaf: Any, where: Any) -> jax.ShapeDtypeStruct:
    """Return the shape of an array or number, on the device that it has already, or else ``where``."""
    if isinstance(leaf, jax.ShapeDtypeStruct):
        where = leaf.sharding or where
    else:
        leaf = jax.typeof(leaf)
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where, weak_type=leaf.weak_type)


def _on(mesh: Mesh | None) -> contextlib.AbstractContextManager:
    """Return a context in which programs for a mesh that is not here are traced."""
    return contextlib.nullcontext() if mesh is None else jax.sharding.use_abstract_mesh(mesh.abstract_mesh)


@contextlib.contextmanager
def _no_compilation_cache() -> Iterator[None]:
    """A context in which programs are compiled anew, and not kept.

    One read from JAX's cache cannot always be written again, and one for a device that is not here not be read.
    """
    former = jax.config.jax_enable_compilation_cache  # pyright: ignore[reportAttributeAccessIssue]  JAX makes it at run time
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()  # which asks only once whether there is to be one
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", former)
        compilation_cache.reset_cache()
