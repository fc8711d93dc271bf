"""Compiled samplers in files: made ahead of time, perhaps for a machine that is not here, and run without a compiler.

A file is a zip archive: ``header.json``, which tells for what the programs were compiled, and XLA's serialised form of
each.  It is machine code: whoever loads one trusts whoever made it, as with any program.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import io
import json
import math
import pickle
import platform
import re
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
from jax.experimental import serialize_executable
from jax.experimental.compilation_cache import compilation_cache
from jax.sharding import Mesh, NamedSharding, SingleDeviceSharding
from jax.sharding import PartitionSpec as P

from .call import Call
from .config import ComputeConfig, ModelConfig
from .config_table import to_dict
from .errors import CompiledError, one_line, shown
from .files import write_whole
from .generation import JITTED, Pieces, Request, generate_in_pieces
from .models.vqdiffusion import VQDiffusionModel
from .sampling.strategy import for_steps
from .sharding import batch_sharding, shardings
from .targets import Target
from .user_archives import DAMAGED, open_archive
from .user_files import open_regular, parse_json

FORMAT = 1
PIECES = ("prepare", "advance", "render", "mark")
_HEADER = "header.json"
_MOST_HEADER = 2**24  # bytes
_PLUGINS = {"tpu": "libtpu", "cuda": "jax-cuda13-plugin"}
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
# All that JAX's serialised programs name; whatever else a file names is refused before anything of it is made.
_KNOWN_NAMES = {
    ("jax", "P"),
    ("jax._src.core", "ManualAxisType"),
    ("jax._src.core", "MemorySpace"),
    ("jax._src.core", "ShapedArray"),
    ("jax._src.interpreters.pxla", "AllArgsInfo"),
    ("jax._src.interpreters.pxla", "UnloadedMeshExecutable"),
    ("jax._src.layout", "AutoLayoutSingleton"),
    ("jax._src.layout", "Layout"),
    ("jax._src.linear_util", "DebugInfo"),
    ("jax._src.mesh", "AbstractDevice"),
    ("jax._src.mesh", "AbstractMesh"),
    ("jax._src.mesh", "AxisType"),
    ("jax._src.mesh", "Mesh"),
    ("jax._src.named_sharding", "_unpickle_named_sharding"),
    ("jax._src.random.prng", "KeyTy"),
    ("jax._src.random.prng", "PRNGImpl"),
    ("jax._src.random.threefry2x32", "threefry_fold_in"),
    ("jax._src.random.threefry2x32", "threefry_random_bits"),
    ("jax._src.random.threefry2x32", "threefry_seed"),
    ("jax._src.random.threefry2x32", "threefry_split"),
    ("jax._src.sharding_impls", "_unpickle_single_device_sharding"),
    ("jax._src.stages", "ArgInfo"),
    ("jaxlib._jax", "DeviceList"),
    ("ml_dtypes", "bfloat16"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("numpy._core.multiarray", "_reconstruct"),
}


@dataclass(frozen=True)
class Row:
    """A compiler's account of one program: its seconds, bytes of memory on a device, and bytes in the file."""

    name: str
    seconds: float
    arguments: int
    results: int
    temporaries: int
    code: int
    stored: int


def machine(device: Any, mesh: Mesh | None) -> dict[str, Any]:
    """Return what a program depends on besides model and settings: versions, the kind of device, and the mesh."""
    kind = "cuda" if device.platform in ("gpu", "cuda") else device.platform
    version = sys.modules[str(__package__)].__version__  # a checkout need not be installed
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
    precision = jax.config.jax_default_matmul_precision  # pyright: ignore[reportAttributeAccessIssue]  JAX makes it at run time
    return _plain(
        {
            "batch_size": batch,
            "strategy": _kind(for_steps(call.strategy)),
            "guidance": guidance,
            "truncation": _kind(call.truncation),
            "start": "a given picture" if begun else "[MASK] everywhere",
            "noise": type(call.noise).__name__,
            "rows of the plan": len(call.plan.padded()),
            "precision of products": precision or "default",
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
    told: Callable[[Row], None] = lambda row: None,
) -> int:
    """Compile the pieces of a run for ``target``, from shapes alone, and write ``file``.

    Args:
      model: its shapes are enough.
      compute: of the model.
      request: of the call's first batch, with the number of network calls as data.
      options: ``output``, ``rounding`` and ``keep_trajectory`` of ``generate``.
      mesh: of the target's devices, or None for its first.
      told: is given each program's row as soon as it is compiled.

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
    made: dict[str, tuple[str, bytes, Row]] = {}

    def piece(name: str, *arguments: Any, **static: Any) -> Any:
        arguments = jax.tree.map(lambda leaf: _placed(leaf, everywhere), arguments)
        started = time.perf_counter()
        with _on(mesh), _no_compilation_cache():
            traced = getattr(JITTED, name).trace(*arguments, **static)
            program = traced.lower(lowering_platforms=(target.platform,)).compile()
        seconds = time.perf_counter() - started
        payload, *_ = serialize_executable.serialize(program)
        _check_names(payload, "what JAX writes of this program")
        memory = program.memory_analysis()
        sizes = (memory.argument_size_in_bytes, memory.output_size_in_bytes, memory.temp_size_in_bytes)
        row = Row(name, seconds, *sizes, memory.generated_code_size_in_bytes, len(payload))
        made[name] = _signature(arguments, static), payload, row
        told(row)
        return jax.tree.map(
            lambda leaf, where: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where),
            traced.out_info,
            program.output_shardings,
        )

    pieces = Pieces(**{name: functools.partial(piece, name) for name in PIECES})
    generate_in_pieces(model, request, None, len(call.plan), **options, pieces=pieces)
    header = machine(target.devices[0], mesh) | model_table(model.config, compute)
    header |= {"settings": settings_table(call, batch, options)}
    header |= {"target": target.name, "arguments": {name: signature for name, (signature, _, _) in made.items()}}
    with write_whole(file) as place, zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(_HEADER, json.dumps(header, indent=1))
        for name, (_, payload, _) in made.items():
            archive.writestr(f"{name}.xla", payload)
    held = sum(
        math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(model)
    )
    return (
        held + made["prepare"][2].results + max(row.results + row.temporaries + row.code for *_, row in made.values())
    )


class CompiledSampler:
    """The programs of a file that ``compile_sampler`` wrote; each is loaded when it first runs.

    Raises CompiledError, one line, for a file that is none, and OSError for one that cannot be opened.
    """

    def __init__(self, file: str | Path):
        self.file = str(file)
        self._devices: list[Any] = []
        self._header, self._payloads = _read(file)
        self._loaded: dict[str, Callable[..., Any]] = {}

    def check(self, config: ModelConfig, compute: ComputeConfig, mesh: Mesh | None = None) -> None:
        """Raise CompiledError, which names the first field at fault, unless the programs are for this.

        Compared are versions, the kind of device, the mesh, the model's configuration and its arithmetic.
        """
        self._devices = jax.devices()[:1] if mesh is None else list(mesh.devices.flat)
        here = _plain(machine(self._devices[0], mesh) | model_table(config, compute))
        if found := difference({name: self._header.get(name) for name in here}, here):
            raise CompiledError(f"{self.file} was compiled for something else: {found}; compile it anew for this")

    @property
    def batch_size(self) -> int:
        """The number of pictures that the programs draw together."""
        return self._header["settings"]["batch_size"]

    def difference(self, call: Call, batch: int, options: Mapping[str, Any]) -> str | None:
        """Return the first setting of a call that the programs were not compiled for, in words, or None."""
        return difference(self._header["settings"], settings_table(call, batch, options))

    @property
    def pieces(self) -> Pieces:
        """The programs, as ``generate_in_pieces`` takes them; each is loaded when it first runs."""
        return Pieces(**{name: functools.partial(self._run, name) for name in PIECES})

    def _run(self, name: str, *arguments: Any, **static: Any) -> Any:
        if name not in self._loaded:
            self._loaded[name] = self._load(name, arguments, static)
        return self._loaded[name](*arguments)

    def _load(self, name: str, arguments: tuple, static: dict[str, Any]) -> Callable[..., Any]:
        if self._header["arguments"][name] != _signature(arguments, static):
            told = "was compiled for another arithmetic (dtype) or other parts of the model"
            raise CompiledError(f"{self.file} {told}, as the arguments of {name} tell; compile it anew for this")
        jitted, payload = getattr(JITTED, name), self._payloads[name]
        results = jax.eval_shape(functools.partial(jitted.__wrapped__, **static), *arguments)
        _check_names(payload, f"{self.file}: {name}")
        try:
            return serialize_executable.deserialize_and_load(
                payload,
                jax.tree.structure((arguments, {})),
                jax.tree.structure(results),
                backend=self._devices[0].client,
                execution_devices=self._devices,
            )
        except Exception as error:  # of XLA, which tells of code for another machine, or of damage
            raise CompiledError(f"{self.file}: {name} cannot be loaded: {one_line(error)[:300]}") from error


class _Names(pickle.Unpickler):
    """Reads a serialised program without making anything of it, and notes the names that are not known."""

    def __init__(self, data: bytes):
        super().__init__(io.BytesIO(data))
        self.unknown: list[str] = []

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _KNOWN_NAMES:
            self.unknown.append(f"{module}.{name}")
        return _Nothing

    def persistent_load(self, pid: Any) -> Any:
        return None


class _Nothing:
    """Takes the place of every object."""

    def __new__(cls, *arguments: Any, **named: Any) -> _Nothing:
        return object.__new__(cls)

    def __init__(self, *arguments: Any, **named: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def _check_names(payload: bytes, where: str) -> None:
    """Raise CompiledError if a serialised program names anything but what JAX's programs are made of."""
    names = _Names(payload)
    try:
        names.load()
    except Exception as error:  # bytes that are no pickle raise errors of many classes
        raise CompiledError(f"{where} is damaged: {one_line(error)[:200]}") from error
    if names.unknown:
        raise CompiledError(f"{where} names {names.unknown[0][:80]}, which no program of JAX's holds")


def _read(file: str | Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return header and programs of a file, the programs as bytes.  Raises CompiledError or OSError."""
    with open_regular(file) as opened:
        try:
            archive = open_archive(opened)
            if archive.getinfo(_HEADER).file_size > _MOST_HEADER:
                raise ValueError("its header is too large")
            header = parse_json(archive.read(_HEADER).decode(), _HEADER)
            payloads = {name: archive.read(f"{name}.xla") for name in header["arguments"]}
            complete = set(payloads) >= {"prepare", "advance", "render"} and header["settings"]["batch_size"] > 0
        except (*DAMAGED, KeyError, TypeError, AttributeError) as error:
            raise CompiledError(f"{file} is no compiled sampler, or damaged: {one_line(error)[:200]}") from error
    if not complete:
        raise CompiledError(f"{file} is no compiled sampler: programs are missing")
    return header, payloads


def _signature(arguments: tuple, static: Mapping[str, Any]) -> str:
    """Return a digest of all that decides a program: the arguments' structure, shapes and types, and what is static."""
    leaves, structure = jax.tree.flatten(arguments)
    shapes = [(jax.numpy.shape(leaf), str(jax.dtypes.result_type(leaf))) for leaf in leaves]
    told = _ADDRESS.sub("", f"{structure} {shapes} {sorted(static.items())}")
    return hashlib.sha256(told.encode()).hexdigest()


def _kind(value: Any) -> str:
    """Return the class of a strategy or truncation, and those of its fields that programs depend on."""
    fields = dataclasses.fields(value) if dataclasses.is_dataclass(value) else ()
    fixed = [
        f"{one.name}={getattr(value, one.name)!r}"
        for one in fields
        if one.metadata.get("static") and not one.metadata.get("plan_only")
    ]
    return f"{type(value).__name__}({', '.join(fixed)})"


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


def _plain(table: dict[str, Any]) -> dict[str, Any]:
    """Return a table as it comes back from JSON."""
    return json.loads(json.dumps(table))


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _instructions() -> str:
    """Return a digest of the instructions that this machine's processor has, for which XLA compiles."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return hashlib.sha256(" ".join(sorted(flags.partition(":")[2].split())).encode()).hexdigest()[:12]
