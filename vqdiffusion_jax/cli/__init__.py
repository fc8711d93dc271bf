"""The command line: one file a mode, each with its own flags, so that ``--help`` is grouped by mode."""

import sys

from .main import run

__all__ = ["console", "run"]


def console() -> None:
    """What the installed command ``vqdiffusion-jax`` calls; the same as ``python main.py``."""
    sys.exit(run(sys.argv))
