"""Flags that name files and folders: which of them may be addresses of buckets, all checked before anything is done."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from ..errors import StorageError, UsageError
from ..storage.addresses import address_of, check_address, local_path
from ..storage.copies import here
from ..storage.folders import written
from ..storage.scratch import as_typed

ON_THE_HUB = ("checkpoint", "init_from", "codec", "clip", "reference_config", "codec_config", "mapping")
READ = (  # by way of a copy on this machine
    *ON_THE_HUB,
    "again",
    "api_key_file",
    "compiled",
    "data_root",
    "image",
    "inception",
    "judge",
    "lora",
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


@contextmanager
def addresses_served(mode: str) -> Iterator[None]:
    """Let a mode run on files and folders here where flags have addresses, and put into --out what it writes.

    What is printed names the addresses.  Flags that name this machine's files by file:// get their paths.
    Raises UsageError, before anything is done, one line that quotes the first address that cannot be served.
    """
    values = {name: FLAGS[name].value for name in (*READ, *WRITTEN, *HERE)}
    served = {name: _each(value, lambda one, name=name: _checked(name, one, mode)) for name, value in values.items()}
    _check_data()
    try:
        for name, value in served.items():
            FLAGS[name].value = value
        if not any(address_of(one) for value in served.values() for one in _all_of(value)):
            yield
            return
        with _names_in_stdout(), _out_of(mode) as out:
            FLAGS["out"].value = out
            for name in COPIED:
                FLAGS[name].value = _each(served[name], _copied)
            yield
    finally:
        for name, value in values.items():
            FLAGS[name].value = value


def _checked(name: str, value: str, mode: str) -> str:
    """Return a flag's value, of file:// the path, or raise UsageError."""
    if address_of(value) is None:
        return str(local_path(value)) if "://" in value else value
    if name in HERE or name == "out" and (mode not in _FOLDERS or value.lower().endswith(".png")):
        raise UsageError(f"--{name}={value}: it must be on this machine; give a path, and copy it to the bucket later")
    if name == "out" and mode == "eval" and (FLAGS.distributed or FLAGS.coordinator or FLAGS.part):
        raise UsageError(f"--out={value}: a report in a bucket is written by one process; give a disk that all see")
    if name in ON_THE_HUB and value.startswith("hf:"):
        return value
    try:
        check_address(value, writing=name in WRITTEN)
    except StorageError as error:
        raise UsageError(f"--{name}={error}") from error
    return value


def _check_data() -> None:
    """Raise UsageError for an address of --config's data that cannot be served."""
    data = None if FLAGS.config is None else FLAGS.config.get("data")
    for name in ("root", "cache"):
        try:
            check_address(str(data.get(name) or "") if isinstance(data, Mapping | ConfigDict) else "")
        except StorageError as error:
            raise UsageError(f"data.{name}={error}") from error


def _all_of(value: Any) -> list[str]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _each(value: Any, change: Callable[[str], str]) -> Any:
    """Return a flag's value with its text, or each of its texts, changed."""
    return [change(one) for one in value] if isinstance(value, list) else None if value is None else change(value)


def _copied(value: str) -> str:
    return value if address_of(value) is None else str(here(value))


@contextmanager
def _out_of(mode: str) -> Iterator[str]:
    """Yield --out, or the folder here that takes its place."""
    value = FLAGS.out
    if address_of(value) is None or mode == "sample" and FLAGS.dry_run:
        yield value
        return
    every = None if mode == "fetch" else _SECONDS  # a download that grows would be put again and again
    with written(value, wanted=lambda name: not name.endswith(_NOT_READ), every=every) as out:
        yield str(out.folder)


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
