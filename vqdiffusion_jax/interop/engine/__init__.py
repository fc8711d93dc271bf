"""The engine of every key table: rules between foreign keys and our parameters, applied in both directions."""

from .part import Part, part_of_module
from .report import Mapped, Report
from .rules import (
    Ignore,
    Rule,
    Transform,
    as_is,
    conv,
    conv_kernel,
    dense,
    embedding,
    key,
    norm,
    pointwise,
    pointwise_kernel,
    split,
    squeeze_first,
    transpose,
)
from .table import apply, unapply

__all__ = [
    "Ignore",
    "Mapped",
    "Part",
    "Report",
    "Rule",
    "Transform",
    "apply",
    "as_is",
    "conv",
    "conv_kernel",
    "dense",
    "embedding",
    "key",
    "norm",
    "part_of_module",
    "pointwise",
    "pointwise_kernel",
    "split",
    "squeeze_first",
    "transpose",
    "unapply",
]
