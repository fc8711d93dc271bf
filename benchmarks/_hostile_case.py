"""One case of ``benchmarks.hostile``: where its files lie, and how they come to be damaged."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import _hostile_mutations as mutate
from benchmarks._hostile_formats import FORGERS


@dataclass(frozen=True)
class Case:
    """A place to put damaged files, the specimens, the random generator, and the file that hostile code would make."""

    place: Path
    whole: Path
    draw: random.Random
    canary: Path
    writes: list[Path]  # files and folders that must be absent or whole in the end

    def damaged(self, name: str, how: Callable[[bytes], bytes] | None = None) -> Path:
        """Return a damaged copy of a specimen, rarely something that is no file at all."""
        path = self.place / Path(name).name
        if self.draw.random() < 0.03:
            mutate.irregular(path, self.draw)
            return path
        data = (self.whole / name).read_bytes()
        forge = how or self._forger(path)
        path.write_bytes(forge(data) if forge and self.draw.random() < 0.7 else mutate.of_bytes(data, self.draw))
        return path

    def _forger(self, path: Path) -> Callable[[bytes], bytes] | None:
        """Return the forger of a file's format, or None."""
        forge = FORGERS.get(path.suffix.lower())
        return None if forge is None else lambda data: forge(data, self.draw, self.canary)

    def folder(self, name: str, names: tuple[str, ...] = ("",), as_name: str = "") -> Path:
        """Return a copy of a folder with one file damaged, of those that end in one of ``names``, or missing."""
        copy = self.place / (as_name or name)
        shutil.copytree(self.whole / name, copy)
        files = sorted(path for path in copy.rglob("*") if path.is_file() and path.name.endswith(names))
        path = self.draw.choice(files)
        data = path.read_bytes()
        kind = self.draw.random()
        if kind < 0.08:
            path.unlink()
            if kind < 0.05:
                mutate.irregular(path, self.draw)
        elif path.suffix == ".json":
            path.write_bytes(mutate.of_json(data, self.draw))
        elif (forge := self._forger(path)) and self.draw.random() < 0.5:
            path.write_bytes(forge(data))
        else:
            path.write_bytes(mutate.of_bytes(data, self.draw))
        return copy
