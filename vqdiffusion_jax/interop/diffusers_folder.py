"""The former name of ``interop.diffusers``, kept for one release."""

from .diffusers import read_diffusers, write_diffusers

__all__ = ["read_diffusers", "write_diffusers"]
