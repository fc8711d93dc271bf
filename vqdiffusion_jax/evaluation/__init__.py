"""Metrics of both papers by written protocols.

``run`` evaluates a model, ``run_pictures`` pictures that are drawn already, and ``run_sweep`` a model with settings
changed; see docs/evaluation.md.  A name is imported when it is first asked for, since the networks take seconds.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .evaluate import Evaluation, run, run_pictures, run_sweep
    from .extractors import Extractor, Subject
    from .metrics import METRICS, Metric, ReferenceFeatures, Results
    from .networks import Networks
    from .protocol import Protocol
    from .protocols import PROTOCOLS, find_protocol
    from .statistics import FeatureStatistics, read_statistics, write_statistics

__all__ = [
    "METRICS",
    "PROTOCOLS",
    "Evaluation",
    "Extractor",
    "FeatureStatistics",
    "Metric",
    "Networks",
    "Protocol",
    "ReferenceFeatures",
    "Results",
    "Subject",
    "find_protocol",
    "read_statistics",
    "run",
    "run_pictures",
    "run_sweep",
    "write_statistics",
]
_MODULES = {
    "evaluate": ("Evaluation", "run", "run_pictures", "run_sweep"),
    "extractors": ("Extractor", "Subject"),
    "metrics": ("METRICS", "Metric", "ReferenceFeatures", "Results"),
    "networks": ("Networks",),
    "protocol": ("Protocol",),
    "protocols": ("PROTOCOLS", "find_protocol"),
    "statistics": ("FeatureStatistics", "read_statistics", "write_statistics"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_MODULE_OF[name]}", __name__), name)
