"""The command line: ``python -m vqdiffusion_jax --mode=MODE --help``."""

from .cli import console

if __name__ == "__main__":
    console()
