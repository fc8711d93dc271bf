"""The former name of ``evaluation.reference_set``, kept for one release."""

from .reference_set import read_pictures as reference_pictures

__all__ = ["reference_pictures"]
