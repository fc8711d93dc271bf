"""Folders of diffusers' VQDiffusionPipeline."""

from .folder import read_diffusers, write_diffusers

__all__ = ["read_diffusers", "write_diffusers"]
