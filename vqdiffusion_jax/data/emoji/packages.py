"""The packages that the drawings come from: fetched with npm, or read from tarballs that are already there."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

from ...errors import DataError, one_line
from ...user_files import decode_text, open_regular, parse_json

FLUENT_3D = "@lobehub/fluent-emoji-3d@1.1.0"
NOTO = "@iconify-json/noto@1.2.9"
TWEMOJI = "@iconify-json/twemoji@1.2.5"
FXEMOJI = "@iconify-json/fxemoji@1.2.2"
FLUENT_COLOR = "@iconify-json/fluent-emoji@1.2.7"
FLUENT_FLAT = "@iconify-json/fluent-emoji-flat@1.2.6"
EMOJIONE = "@iconify-json/emojione@1.2.3"  # EmojiOne 2, before its licence changed
LETTERS = "@fontsource/nunito@5.3.0"
NAMES = "emojibase-data@17.0.0"
MOST_UNPACKED = 2**29  # bytes; none of these has as many
PACKAGES = (FLUENT_3D, NOTO, TWEMOJI, FXEMOJI, FLUENT_COLOR, FLUENT_FLAT, EMOJIONE, LETTERS, NAMES)


def tarball(package: str) -> str:
    """Return the name under which ``npm pack`` saves ``package``, which is given as NAME@VERSION."""
    name, _, version = package.rpartition("@")
    return f"{name.removeprefix('@').replace('/', '-')}-{version}.tgz"


def fetch(folder: Path) -> None:
    """Download into ``folder`` those of PACKAGES that are not there.  Raises DataError in one line."""
    missing = [package for package in PACKAGES if not (folder / tarball(package)).exists()]
    if missing and shutil.which("npm") is None:
        raise DataError(
            "npm is not installed; install Node.js, or name a folder of the packages' tarballs with --packages"
        )
    for package in missing:
        done = subprocess.run(["npm", "pack", package, "--silent"], cwd=folder, capture_output=True, text=True)
        if done.returncode or not (folder / tarball(package)).exists():
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            raise DataError(f"npm pack {package} failed: {lines[-1].strip() if lines else 'npm says nothing'}")


def read_files(folder: Path, package: str, ending: str) -> dict[str, bytes]:
    """Return base name -> bytes of a package's files with this ending, of several the last.

    Raises:
      DataError: the tarball is missing or damaged.
    """
    path = folder / tarball(package)
    files: dict[str, bytes] = {}
    left = MOST_UNPACKED
    try:
        with open_regular(path) as packed, tarfile.open(fileobj=packed, mode="r:gz") as tar:
            for member in tar:
                left -= member.size
                if member.size < 0 or left < 0:
                    raise tarfile.ReadError(f"it unpacks to more than {MOST_UNPACKED >> 20} MiB")
                file = tar.extractfile(member) if member.isreg() and member.name.endswith(ending) else None
                if file is not None:
                    files[Path(member.name).name] = file.read()
    except Exception as error:  # tarfile and zlib raise errors of many classes for damaged files
        reason = error.strerror if isinstance(error, OSError) and error.strerror else one_line(error)
        raise DataError(f"{path} cannot be read ({reason}); delete it to have it fetched again") from error
    return files


def read_json(folder: Path, package: str, ending: str) -> Any:
    """Return the value of the one JSON file of a package whose path has this ending.

    Raises:
      DataError: the tarball is missing or damaged, or has not one such file.
    """
    path, found = folder / tarball(package), read_files(folder, package, ending)
    if len(found) != 1:
        raise DataError(f"{path} has {len(found)} files {ending}; expected one")
    ((name, data),) = found.items()
    try:
        return parse_json(decode_text(data, f"{path}: {name}"), f"{path}: {name}")
    except ValueError as error:
        raise DataError(f"{one_line(error)}; delete the package to have it fetched again") from error
