"""The file of a compiled sampler: a zip archive of ``header.json`` and XLA's serialised form of each program.

It is machine code: whoever loads one trusts whoever made it, as with any program.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import CompiledError, one_line
from ..files import write_whole
from ..generation import PIECES
from ..user_archives import DAMAGED, open_archive
from ..user_files import open_regular, parse_json

_HEADER = "header.json"
_MOST_HEADER, _MOST_BYTES = 2**24, 2**31
_MOST_BATCH = 2**16


def write_programs(file: Path, header: Mapping[str, Any], payloads: Mapping[str, bytes]) -> None:
    """Write header and programs, the whole file or nothing."""
    with write_whole(file) as place, zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(_HEADER, json.dumps(header, indent=1))
        for name, payload in payloads.items():
            archive.writestr(f"{name}.xla", payload)


def read_programs(file: str | Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return header and programs of a file, the programs as bytes.  Raises CompiledError or OSError."""
    with open_regular(file) as opened:
        try:
            archive = open_archive(opened)
            if archive.getinfo(_HEADER).file_size > _MOST_HEADER:
                raise ValueError("its header is too large")
            header = parse_json(archive.read(_HEADER).decode(), _HEADER)
            if sum(one.file_size for one in archive.infolist()) > _MOST_BYTES:
                raise ValueError(f"its programs take more than {_MOST_BYTES} bytes")
            signatures, batch = dict(header["arguments"]), header["settings"]["batch_size"]
            payloads = {name: archive.read(f"{name}.xla") for name in signatures}
            complete = payloads.keys() >= set(PIECES) and type(batch) is int and 0 < batch <= _MOST_BATCH
        except (*DAMAGED, KeyError, TypeError, AttributeError) as error:
            raise CompiledError(f"{file} is no compiled sampler, or damaged: {one_line(error)[:200]}") from error
    if not complete:
        raise CompiledError(f"{file} is no compiled sampler: programs are missing")
    return header, payloads
