"""Metrics of both papers by written protocols; nothing here is imported by ``import vqdiffusion_jax``."""
