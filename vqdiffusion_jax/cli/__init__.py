"""The command line: one file a mode, each with its own flags, so that ``--help`` is grouped by mode."""

from .main import run

__all__ = ["run"]
