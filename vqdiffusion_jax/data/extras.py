"""Packages that only some data sets and modes need, and that may therefore be absent."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from ..errors import DataError

_found: set[str] = set()


def needed(module: str, what: str) -> ModuleType:
    """Import and return ``module``.

    Raises DataError if its package is not installed; the message says that ``what`` needs it, and what to install.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise _absent((error.name or module).partition(".")[0], what) from error


def check_installed(package: str, what: str) -> None:
    """Raise the DataError of ``needed`` if ``package`` is not installed, without the seconds that an import takes."""
    if package not in _found and importlib.util.find_spec(package) is None:
        raise _absent(package, what)
    _found.add(package)  # looking takes a millisecond, and a package does not go


def _absent(package: str, what: str) -> DataError:
    return DataError(f"{what} needs {package}; install it with pip install {package.replace('_', '-')}")
