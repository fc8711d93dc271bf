"""Settled calls: arrays and a plan from settings and a model's configuration, before any weight is read."""

from .call import Call, planned, settle
from .conditions import KINDS
from .starts import Given, pictures_of, rows_of

__all__ = [
    "KINDS",
    "Call",
    "Given",
    "pictures_of",
    "planned",
    "rows_of",
    "settle",
]
