"""Files that others cut, replace or remove while they are read; whole when they are opened."""

from __future__ import annotations

import dataclasses
import os
import random
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks._hostile_case import Case

_READERS = (
    "checkpoint",
    "clip",
    "codec",
    "inception",
    "model_weights",
    "orbax",
    "diffusers",
    "clip_folder",
    "statistics",
    "picture",
    "cache",
    "captions",
    "pictures",
    "tar",
    "lora",
)
_LONGEST_WAIT = 0.3  # seconds before a file is changed; most readers are done after less


@dataclasses.dataclass(frozen=True)
class _Whole(Case):
    """A case whose files come as they are, and which tells when they lie there."""

    there: threading.Event = dataclasses.field(default_factory=threading.Event)

    def damaged(self, name: str, how: Callable[[bytes], bytes] | None = None) -> Path:
        path = self.place / Path(name).name
        shutil.copy(self.whole / name, path)
        self.there.set()
        return path

    def folder(self, name: str, names: tuple[str, ...] = ("",), as_name: str = "") -> Path:
        copy = self.place / (as_name or name)
        shutil.copytree(self.whole / name, copy)
        self.there.set()
        return copy


def changing_doors(doors: Mapping[Callable[[Case], None], int]) -> dict[Callable[[Case], None], int]:
    """Return the door through which files come that change while one of ``doors`` reads them, and how often."""
    readers = {door.__name__: door for door in doors}

    def changing(case: Case) -> None:
        about = {field.name: getattr(case, field.name) for field in dataclasses.fields(Case)}
        whole, ended = _Whole(**about), threading.Event()
        other = threading.Thread(target=_disturb, args=(whole, random.Random(case.draw.random()), ended), daemon=True)
        other.start()
        try:
            readers[case.draw.choice(_READERS)](whole)
        finally:
            whole.there.set()
            ended.set()
            other.join()

    return {changing: 16}


def _disturb(case: _Whole, draw: random.Random, ended: threading.Event) -> None:
    case.there.wait()
    until = time.monotonic() + _LONGEST_WAIT * 3
    while not ended.wait(draw.random() ** 3 * _LONGEST_WAIT) and time.monotonic() < until:
        try:
            files = sorted(path for path in case.place.rglob("*") if path.is_file())
            if files:
                _change(draw.choice(files), draw)
        except OSError:  # the reader has moved or removed it
            continue


def _change(path: Path, draw: random.Random) -> None:
    """Change a file in one of the ways in which other programs do."""
    size, kind = path.stat().st_size, draw.randrange(6)
    if kind <= 1:
        os.truncate(path, draw.choice((0, size // 2, max(size - 1, 0))))
    elif kind == 2:
        with path.open("ab") as file:
            file.write(draw.randbytes(draw.choice((1, 5000))))
    elif kind == 3:
        with path.open("r+b") as file:
            file.seek(draw.randrange(size + 1))
            file.write(draw.randbytes(200))
    elif kind == 4:
        path.unlink()
    else:
        aside = path.with_name(path.name + ".new")
        aside.write_bytes(draw.randbytes(max(size // 2, 1)))
        aside.replace(path)
