"""Addresses: told from paths, and refused if they cannot be served."""

from __future__ import annotations

import importlib.util
import logging
import posixpath
import re
from os import PathLike, fspath
from pathlib import Path, PurePath
from typing import Any

from ..errors import ConfigError, StorageError, brief, one_line

EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}  # schemes -> extras of this package
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.:-]+):(/{1,})(.*)", re.DOTALL)  # one letter is a drive of Windows
_HERE = ("file", "local")
_OF_THE_HUB = "hf"
_BLOCK = 8 * 2**20  # bytes of a request, after each of which s3fs tells what has come
_READ_ALONE = ("http", "https", "github", "data", "zip", "tar", "libarchive", "reference")


def address_of(place: str | PathLike[str]) -> str | None:
    """Return an address as ``scheme://rest``, and None for a path on this machine, whether typed plainly or as file://.

    A ``pathlib.Path`` made of an address has one of its slashes left, and is understood.
    """
    text = fspath(place)
    match = _ADDRESS.fullmatch(text) if isinstance(text, str) and ":/" in text else None
    if match is None or match[1].lower() in _HERE:
        return None
    scheme, slashes, rest = match.groups()
    if len(slashes) == 1 and not (isinstance(place, PurePath) or scheme in EXTRAS):
        return None
    return f"{scheme}://{rest}"


def local_path(place: str | PathLike[str]) -> Path:
    """Return a place that is no address as a path; of file:// what follows it."""
    match = _ADDRESS.fullmatch(fspath(place))
    if match is None or match[1].lower() not in _HERE:
        return Path(place)
    return Path(f"/{match[3].lstrip('/')}")


def on_this_machine(place: str | PathLike[str], what: str) -> Path:
    """Return a place as a path.  Raises StorageError for an address, where ``what`` says what it is to be."""
    if address_of(place) is not None:
        raise StorageError(f"{brief(fspath(place))}: {what} must be on this machine; give a path")
    return local_path(place)


def scheme_of(address: str) -> str:
    """Return the scheme of an address, such as ``s3``."""
    return address.partition("://")[0]


def check_address(place: str | PathLike[str], *, writing: bool = False) -> None:
    """Raise StorageError, one line that quotes it, for an address that cannot be served; paths pass.

    Nothing is asked of a network.  writing: it is to be written to.
    """
    address = address_of(place)
    if address is None:
        return
    scheme, _, rest = address.partition("://")
    typed = brief(fspath(place))
    if scheme == _OF_THE_HUB:
        raise StorageError(f"{typed}: hf:// names a model to read; give a path here, or gs:// or s3://")
    if "::" in address:
        raise StorageError(f"{typed}: addresses joined by :: are not taken; give the one of the files themselves")
    package = _package_of(scheme)
    if package is None:
        raise StorageError(f"{typed}: {scheme}:// is not known; give a path, gs://BUCKET/NAME or s3://BUCKET/NAME")
    if importlib.util.find_spec(package) is None:
        name = package.replace("_", "-")
        extra = f" (or this package with its extra {EXTRAS[scheme]})" if scheme in EXTRAS else ""
        raise StorageError(f"{typed}: {scheme}:// needs {name}; pip install {name}{extra}")
    if writing and scheme in _READ_ALONE:
        raise StorageError(f"{typed}: {scheme}:// cannot be written to; give a path, gs:// or s3://")
    if not rest.strip("/"):
        raise StorageError(f"{typed} names no bucket; write {scheme}://BUCKET/NAME")


def filesystem(address: str, *, writing: bool = False) -> tuple[Any, str]:
    """Return fsspec's file system of an address, and the path in it.

    Credentials and endpoints come from the environment, as each provider's own tools take them.
    Raises StorageError as ``check_address`` does, and for an address that the file system does not understand.
    """
    check_address(address, writing=writing)
    import fsspec  # imported when an address is seen

    try:
        files, path = fsspec.core.url_to_fs(address, **_options(scheme_of(address)))
        files.invalidate_cache()  # of what another process has changed since
    except ConfigError:  # of the settings here
        raise
    except Exception as error:  # of the provider's library
        raise StorageError(f"{address} cannot be opened: {brief(one_line(error))}") from error
    return files, path.rstrip("/")


def _options(scheme: str) -> dict[str, Any]:
    """Return the options of a file system in which a large object may take its time, if something comes."""
    from fsspec.config import conf

    own: dict[str, Any] = {}
    if scheme in ("http", "https"):
        import aiohttp

        # Its own limit is five minutes for all of a file.
        own = {"client_kwargs": {"timeout": aiohttp.ClientTimeout(total=None)}}
    elif EXTRAS.get(scheme) == "s3":
        own = {"default_block_size": _BLOCK}
    elif EXTRAS.get(scheme) == "gcs" and not (logger := logging.getLogger("gcsfs")).level:
        logger.setLevel(logging.CRITICAL)  # with a traceback it logs what it raises
    return own | conf.get(scheme, {})


def joined(folder: str | PathLike[str], name: str) -> str:
    """Return the place of a file in a folder; an absolute path or an address stays as it is."""
    if address_of(name) is not None:
        return name
    address = address_of(folder)
    return str(local_path(folder) / name) if address is None else posixpath.join(address, name)


def folder_of(file: str | PathLike[str]) -> str:
    """Return the folder of a file, a path or an address."""
    address = address_of(file)
    return str(local_path(file).parent) if address is None else posixpath.dirname(address)


def last_name(place: str | PathLike[str]) -> str:
    """Return the last part of a path or address."""
    address = address_of(place)
    return local_path(place).absolute().name if address is None else posixpath.basename(address.rstrip("/"))


def absolute(place: str) -> str:
    """Return a place that is the same in any folder: an address as it is, a path made absolute."""
    return address_of(place) or str(local_path(place).absolute())


def _package_of(scheme: str) -> str | None:
    """Return the package that a scheme needs, as fsspec knows it; None for an unknown scheme."""
    from fsspec.registry import known_implementations, registry

    if scheme in registry:
        return "fsspec"
    about = known_implementations.get(scheme)
    return None if about is None else about["class"].partition(".")[0]
