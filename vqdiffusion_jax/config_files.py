"""The configuration files that come with the package, by name; in a checkout they are the folder ``configs``."""

from __future__ import annotations

import os
import runpy
from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).parent
FOLDER = next((place for place in (_PACKAGE / "configs", _PACKAGE.parent / "configs") if place.is_dir()), None)


def names() -> tuple[str, ...]:
    """Return the names of all files, without their suffix."""
    found = () if FOLDER is None else FOLDER.glob("*.py")
    return tuple(sorted(path.stem for path in found if not path.stem.startswith("_")))


def located(path: str) -> str:
    """Return the file that ``path`` stands for: one of ours by its name, else ``path`` as it is.

    The name wins over a file that has it: "./coco" is the file.  "configs/coco.py" is one of ours where no such file is
    there, so that a documented command works outside a checkout.
    """
    folder, name = os.path.split(path)
    stem = name.removesuffix(".py")
    bare = not folder and stem == name
    elsewhere = folder == "configs" and stem != name and not os.path.lexists(path)
    return str(FOLDER / f"{stem}.py") if FOLDER is not None and (bare or elsewhere) and stem in names() else path


def config_of(name: str) -> Any:
    """Return what ``get_config`` of the file called ``name`` returns, for a configuration that differs in a few fields.

    Raises ValueError for an unknown name.
    """
    if name not in names():
        raise ValueError(f"no configuration is called {name!r}; there are {', '.join(names())}")
    return runpy.run_path(located(name))["get_config"]()
