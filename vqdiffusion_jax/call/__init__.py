"""A call settled: settings and a model's configuration become arrays and a plan, before any weight is read."""

from .call import Call, planned, settle
from .conditions import KINDS, condition_of, null_condition_of
from .starts import Given, pictures_of, rows_of

__all__ = [
    "KINDS",
    "Call",
    "Given",
    "condition_of",
    "null_condition_of",
    "pictures_of",
    "planned",
    "rows_of",
    "settle",
]
