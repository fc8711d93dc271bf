"""The command line: one file a mode, which defines the mode's flags, so that ``--help`` is grouped by mode."""

import sys

from .main import run

__all__ = ["console", "run"]


def console() -> None:
    """Run the installed command ``vqdiffusion-jax``, or ``python -m vqdiffusion_jax``."""
    sys.exit(run(sys.argv))
