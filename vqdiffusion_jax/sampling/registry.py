"""Strategies by name, for flags, recipes, protocols and the page.  A new strategy adds one line to ``STRATEGIES``."""

from __future__ import annotations

from .ancestral import Ancestral, ReferenceFast
from .entropy_bound import EntropyBound
from .fewer_tokens import FewerTokens, PurityPrior
from .maskgit import MaskGIT
from .remask import Remask
from .strategy import Explained, Strategy

STRATEGIES: dict[str, type[Strategy]] = {
    "posterior": Ancestral,
    "fast": ReferenceFast,
    "fewer_tokens": FewerTokens,
    "purity": PurityPrior,
    "maskgit": MaskGIT,
    "entropy_bound": EntropyBound,
    "remask": Remask,
}


def name_of(strategy: Strategy | type[Strategy]) -> str:
    """Return the name of a strategy or of a strategy's class: its key in ``STRATEGIES``, else the name of the class."""
    cls = strategy if isinstance(strategy, type) else type(strategy)
    return next((name for name, known in STRATEGIES.items() if known is cls), cls.__name__)


def explanation_of(cls: type[Strategy]) -> str:
    """Return one line about a strategy, for people."""
    explained = cls.explanation if isinstance(cls, Explained) else cls.__doc__ or ""
    return explained.strip().partition("\n")[0]
