"""Zip archives that a user names, as PyTorch and NumPy write them: none that fills memory is opened."""

from __future__ import annotations

import struct
import zipfile
import zlib
from typing import BinaryIO

from .errors import brief

DIRECTORY_BYTES = 16 * 2**20  # of an archive's directory; an entry takes some 60
_ENCRYPTED = 1  # bit of an entry's flags

# What zipfile and its decompressor raise for damaged archives.
DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    ValueError,
    OverflowError,
    NotImplementedError,
    RuntimeError,
    OSError,
)


def open_archive(file: BinaryIO) -> zipfile.ZipFile:
    """Return the archive of an open file, whose entries are stored or deflated.

    Raises BadZipFile for any other archive, and for a directory larger than DIRECTORY_BYTES; one of DAMAGED if the
    file is no archive.
    """
    _check_directory(file)
    archive = zipfile.ZipFile(file)
    for info in archive.infolist():
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or info.flag_bits & _ENCRYPTED:
            raise zipfile.BadZipFile(f"its entry {brief(info.filename, 80)} is encrypted or packed in an unknown way")
    return archive


def _check_directory(file: BinaryIO) -> None:
    """Raise BadZipFile for a directory that would fill memory; zipfile reads it whole, whatever its size."""
    size = file.seek(0, 2)
    file.seek(max(0, size - 2**16 - 22))
    end = file.read()
    at = end.rfind(b"PK\x05\x06")
    file.seek(0)
    if at < 0 or len(end) < at + 22:
        return  # zipfile says so
    (directory,) = struct.unpack_from("<I", end, at + 12)
    if directory == 2**32 - 1:  # then a record before it has the size
        before = end.rfind(b"PK\x06\x06", 0, at)
        directory = struct.unpack_from("<Q", end, before + 40)[0] if 0 <= before <= len(end) - 48 else 2**32
    if directory > DIRECTORY_BYTES:
        raise zipfile.BadZipFile(f"its directory takes {directory} bytes, more than any such file's")
