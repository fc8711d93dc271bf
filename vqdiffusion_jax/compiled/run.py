"""A compiled sampler's programs, checked and run."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
from jax.experimental import serialize_executable
from jax.sharding import Mesh

from ..call import Call
from ..config import ComputeConfig, ModelConfig
from ..errors import CompiledError, one_line
from ..generation import JITTED, PIECES, Pieces
from .depends import difference, machine, model_table, plain, settings_table, signature
from .file import read_programs
from .known_names import check_names


class CompiledSampler:
    """The programs of a file that ``compile_sampler`` wrote; each is loaded when it first runs.

    Raises CompiledError, one line, for a file that is none, and OSError for one that cannot be opened.
    """

    def __init__(self, file: str | Path):
        self.file = str(file)
        self._devices: list[Any] = []
        self._header, self._payloads = read_programs(file)
        self._loaded: dict[str, Callable[..., Any]] = {}

    def check(self, config: ModelConfig, compute: ComputeConfig, mesh: Mesh | None = None) -> None:
        """Raise CompiledError, which names the first field at fault, unless the programs are for this.

        Compared are versions, the kind of device, the mesh, the model's configuration and its arithmetic.
        """
        self._devices = jax.devices()[:1] if mesh is None else list(mesh.devices.flat)
        here = plain(machine(self._devices[0], mesh) | model_table(config, compute))
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
        assert self._devices, "check() comes first"
        return Pieces(**{name: functools.partial(self._run, name) for name in PIECES})

    def _run(self, name: str, *arguments: Any, **static: Any) -> Any:
        if name not in self._loaded:
            self._loaded[name] = self._load(name, arguments, static)
        try:
            return self._loaded[name](*arguments)
        except TypeError as error:  # the program's, of arguments that it was not made for, as of another model
            raise CompiledError(f"{self.file}: {name} does not fit this model: {one_line(error)[:300]}") from error

    def _load(self, name: str, arguments: tuple, static: dict[str, Any]) -> Callable[..., Any]:
        if self._header["arguments"][name] != signature(arguments, static):
            told = "was compiled for another arithmetic (dtype) or other parts of the model"
            raise CompiledError(f"{self.file} {told}, as the arguments of {name} tell; compile it anew for this")
        jitted, payload = getattr(JITTED, name), self._payloads[name]
        results = jax.eval_shape(functools.partial(jitted.__wrapped__, **static), *arguments)
        check_names(payload, f"{self.file}: {name}")
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
