"""Flags that name files and folders: which of them may be addresses of buckets, all checked before anything is done."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from absl import flags

from ..errors import StorageError, UsageError
from ..storage.addresses import address_of, check_address, local_path
from ..storage.folders import written
from ..storage.scratch import as_typed

ON_THE_HUB = ("checkpoint", "init_from", "codec", "clip", "reference_config", "codec_config", "mapping")
READ = (  # by way of a copy on this machine
    *ON_THE_HUB,
    "again",
    "data_root",
    "image",
    "inception",
    "judge",
    "mask_image",
    "password_file",
    "prompts_file",
    "protocol",
    "reference",
    "report",
    "samples",
    "score_clip",
)
COPIED = ("data_root", "inception", "judge", "samples", "score_clip")  # of these, at once
WRITTEN = ("workdir", "out")  # by way of a copy too
HERE = ("profile", "reduced_codec", "write_reference")  # on this machine alone
# Modes whose --out is a folder.
_FOLDERS = ("sample", "fetch", "convert", "tokenize", "inspect", "eval", "flax_to_diffusers")
_NOT_READ = (".png", ".gif", ".mp4", ".array_record")  # of what such a folder holds already, the name is enough
_SECONDS = 15.0  # after which what is new in --out is put in the bucket

FLAGS = flags.FLAGS


def check_addresses(mode: str) -> None:
    """Raise UsageError, one line that quotes the address as typed, for the first one that cannot be served.

    Flags that name this machine's files by file:// get their paths.
    """
    for name in (*READ, *WRITTEN, *HERE):
        flag = FLAGS[name]
        if isinstance(flag.value, list):
            flag.value = [_served(name, value, mode) for value in flag.value]
        elif flag.value is not None:
            flag.value = _served(name, flag.value, mode)


def _served(name: str, value: str, mode: str) -> str:
    """Return a flag's value, of file:// the path, or raise UsageError."""
    if address_of(value) is None:
        return str(local_path(value)) if "://" in value else value
    if name in HERE or name == "out" and (mode not in _FOLDERS or value.lower().endswith(".png")):
        raise UsageError(f"--{name}={value}: it must be on this machine; give a path, and copy it to the bucket later")
    if name in ON_THE_HUB and value.startswith("hf:"):
        return value
    try:
        check_address(value, writing=name in WRITTEN)
    except StorageError as error:
        raise UsageError(f"--{name}={error}") from error
    return value


@contextmanager
def out_served(mode: str) -> Iterator[None]:
    """Let --out be a folder here while a mode runs, if it is an address, and put there what the mode writes."""
    flag = FLAGS["out"]
    if flag.value is None or address_of(flag.value) is None or mode not in _FOLDERS or mode == "sample" and FLAGS.dry_run:
        yield
        return
    typed = flag.value
    with written(typed, wanted=lambda name: not name.endswith(_NOT_READ), every=_SECONDS) as out, _names_in_stdout():
        flag.value = str(out.folder)
        try:
            yield
        finally:
            flag.value = typed


@contextmanager
def _names_in_stdout() -> Iterator[None]:
    """Put addresses in place of copies into all that is printed."""
    before = sys.stdout
    sys.stdout = _AsTyped(before)  # pyright: ignore[reportAttributeAccessIssue]  # it has all that a stream has
    try:
        yield
    finally:
        sys.stdout = before


class _AsTyped:
    """A stream that names addresses as they were typed."""

    def __init__(self, stream: Any):
        self._stream = stream

    def write(self, text: str) -> int:
        return self._stream.write(as_typed(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
