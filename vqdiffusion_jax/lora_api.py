"""LoRA adapters of a pipeline, by the names that diffusers gives the methods."""

from __future__ import annotations

import itertools
import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax

from .errors import ConfigError, first_of, shown
from .lora_files import read_lora
from .models.denoiser import Denoiser
from .models.lora import LoRA, check_fits, merged
from .models.vqdiffusion import VQDiffusionModel


@dataclass(frozen=True, eq=False)
class Adapters:
    """The adapters that a pipeline has loaded, and the denoisers without and with those in use."""

    loaded: Mapping[str, LoRA] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)  # of those in use
    base: Denoiser | None = None
    shown: Denoiser | None = None  # base plus adapters, which the model has


class LoRAMethods:
    """Methods of a pipeline that load, weigh, merge and forget LoRA adapters.

    Adapters in use are added to the denoiser's weights whenever their weights change: drawing costs nothing more, and
    ``unload_lora_weights`` gives the base's own arrays back.
    """

    model: VQDiffusionModel
    _adapters = Adapters()

    def load_lora_weights(self, path: str | Path | LoRA, adapter_name: str | None = None) -> None:
        """Load an adapter and use it at weight 1, beside those in use.

        Args:
          path: a file that training with ``lora.rank`` wrote, a folder that holds ``lora.safetensors``, or a LoRA.
          adapter_name: by default ``default_0``, ``default_1``, ...

        Raises:
          CheckpointError: a file that cannot be read.
          ConfigError: a name that is taken, or an adapter that does not fit the model.
        """
        now = self._adapters
        name = _free_name(now.loaded) if adapter_name is None else adapter_name
        if name in now.loaded:
            raise ConfigError(f"there is a LoRA {shown(name)} already; give it another adapter_name")
        lora = path if isinstance(path, LoRA) else read_lora(path)
        try:
            check_fits(lora, self.model.denoiser)
        except ConfigError as error:
            raise ConfigError(str(error) if lora is path else f"{path}: {error}") from error
        self._use({**now.loaded, name: lora}, {**now.weights, name: 1.0})

    def use_loras(self, adapters: Sequence[tuple[LoRA, float]]) -> None:
        """Load adapters under free names and use them at their weights, beside those in use; all are merged once.

        Raises ConfigError for an adapter that does not fit the model.
        """
        loaded, weights = dict(self._adapters.loaded), dict(self._adapters.weights)
        for lora, weight in adapters:
            name = _free_name(loaded)
            loaded[name], weights[name] = lora, weight
        self._use(loaded, weights)

    def set_adapters(
        self, adapter_names: str | Sequence[str], adapter_weights: float | Sequence[float] | None = None
    ) -> None:
        """Use these adapters alone, each at its weight, by default 1; one weight may serve all of them.

        Raises ConfigError for a name that is not loaded, or weights that are no finite numbers or too few or many.
        """
        names = [adapter_names] if isinstance(adapter_names, str) else list(adapter_names)
        if unknown := [name for name in names if name not in self._adapters.loaded]:
            there = ", ".join(self._adapters.loaded) or "none"
            raise ConfigError(f"no LoRA {first_of([str(name) for name in unknown])} is loaded; loaded: {there}")
        weights: Any = 1.0 if adapter_weights is None else adapter_weights
        weights = list(weights) if isinstance(weights, list | tuple) else [weights] * len(names)
        if len(weights) != len(names) or len(set(names)) != len(names):
            raise ConfigError(f"{len(weights)} weights for the LoRAs {', '.join(names)}; give one for each, named once")
        for weight in weights:
            if isinstance(weight, bool) or not isinstance(weight, int | float) or not math.isfinite(weight):
                raise ConfigError(f"a LoRA's weight is {shown(weight)}; it must be a finite number")
        self._use(self._adapters.loaded, dict(zip(names, map(float, weights), strict=True)))

    def get_active_adapters(self) -> list[str]:
        """Return the names of the adapters in use."""
        return list(self._adapters.weights)

    def fuse_lora(self, lora_scale: float = 1.0) -> None:
        """Make the adapters in use, their weights times ``lora_scale``, part of the model, and forget all adapters."""
        if lora_scale != 1.0:
            weights = self._adapters.weights
            self.set_adapters(list(weights), [weight * lora_scale for weight in weights.values()])
        self._adapters = Adapters()

    def unload_lora_weights(self) -> None:
        """Forget all adapters; the denoiser is again the one that was there before them, to the bit."""
        self._use({}, {})
        self._adapters = Adapters()

    def _use(self, loaded: Mapping[str, LoRA], weights: Mapping[str, float]) -> None:
        now, present = self._adapters, self.model.denoiser
        # A denoiser that was assigned since is the base from now on.
        base = now.base if now.base is not None and present is now.shown else present
        adapters = [(loaded[name], weight) for name, weight in weights.items()]
        for lora, _ in adapters:
            check_fits(lora, base)
        denoiser = merged(base, adapters) if adapters else base
        if denoiser is not present:
            model = jax.tree.map(lambda leaf: leaf, self.model)  # other pipelines may share this one
            model.denoiser = denoiser
            self.model = model
        self._adapters = replace(now, loaded=loaded, weights=weights, base=base, shown=denoiser)


def _free_name(taken: Container[str]) -> str:
    """Return the first of default_0, default_1, ... that is not taken."""
    return next(name for name in map("default_{}".format, itertools.count()) if name not in taken)
