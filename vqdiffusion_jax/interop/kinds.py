"""The former name of ``interop.detect``, kept for one release."""

from .detect import kind_of

__all__ = ["kind_of"]
