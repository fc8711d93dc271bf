"""The emoji set, built from public packages: ``python -m vqdiffusion_jax.data.emoji --out=DIR``."""
