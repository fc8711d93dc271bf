"""The former place of ``errors.EvaluationError``, kept for one release."""

from ..errors import EvaluationError

__all__ = ["EvaluationError"]
