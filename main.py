"""VQ-Diffusion from the command line: ``python main.py --mode=MODE --help``."""

import sys

from vqdiffusion_jax.cli import run

if __name__ == "__main__":
    sys.exit(run(sys.argv))
