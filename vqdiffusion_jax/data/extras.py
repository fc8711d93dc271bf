"""Packages that only some data sets and modes need, and that may therefore be absent."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from ..errors import DataError


def needed(module: str, what: str, *, extra: str = "train") -> ModuleType:
    """``module``, which ``what`` needs.  Raises DataError, one line naming our ``extra``, if its package is not installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise _absent((error.name or module).partition(".")[0], what, extra) from error


def check_installed(package: str, what: str, *, extra: str = "train") -> None:
    """Raise what ``needed`` would raise, without the seconds that an import may take."""
    if importlib.util.find_spec(package) is None:
        raise _absent(package, what, extra)


def _absent(package: str, what: str, extra: str) -> DataError:
    return DataError(f'{what} needs {package}; install it with pip install -e ".[{extra}]"')
