"""Strategies by name, for whoever chooses one in words: flags, protocols, the page.  To offer a new one, add a line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .ancestral import Ancestral, ReferenceFast
from .entropy_bound import EntropyBound
from .fewer_tokens import FewerTokens, PurityPrior
from .maskgit import MaskGIT
from .remask import Remask
from .strategy import Strategy


@dataclass(frozen=True)
class Named:
    """A strategy's class, and its arguments by the names that settings have among those of all strategies."""

    cls: type
    settings: Mapping[str, str]

    def make(self, **settings: Any) -> Strategy:
        """The strategy with these settings, its class's defaults for those left out or None.  Raises what the class raises."""
        return self.cls(**{self.settings[name]: value for name, value in settings.items() if value is not None})


STRATEGIES: Mapping[str, Named] = {
    "posterior": Named(Ancestral, {"steps": "num_steps", "timesteps": "timesteps"}),
    "fast": Named(ReferenceFast, {"skip_step": "skip_step"}),
    "fewer_tokens": Named(FewerTokens, {"tokens_per_step": "tokens_per_call"}),
    "purity": Named(PurityPrior, {"tokens_per_step": "tokens_per_call", "purity_weight": "weight"}),
    "maskgit": Named(MaskGIT, {"steps": "num_steps", "temperature": "temperature", "mask_schedule": "mask_schedule"}),
    "entropy_bound": Named(EntropyBound, {"entropy_bound": "gamma"}),
    "remask": Named(
        Remask,
        {"steps": "num_steps", "timesteps": "timesteps", "remask_rate": "rate", "remask_schedule": "remask_schedule"},
    ),
}
