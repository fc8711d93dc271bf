"""Names of models as local files and folders: embedded models, paths, and repositories of the Hugging Face hub.

``locate`` is the one way from what a user wrote to a place on disk, to which an address of a bucket is copied.  A
repository is "owner/name", unless a local folder has that name, or "hf://owner/name[@revision][/subfolder]".  Its files
go through huggingface_hub: they lie in its cache, come from there without a network, and HF_ENDPOINT, HF_HOME, HF_TOKEN
and HF_HUB_OFFLINE are understood.
"""

from __future__ import annotations

import errno
import glob
import os
import re
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import unquote

from .embedded import NAMES, folder_of, is_embedded
from .errors import CheckpointError, ConfigError, NoAnswer, TooMuch, did_you_mean, one_line, shown
from .hub_files import Chosen, Wanted, choose
from .patience import Progress, patience, within
from .storage.copies import here
from .storage.scratch import copy_of
from .user_files import read_text

SCHEME = "hf://"
OPTIONS = (
    "revision",
    "variant",
    "cache_dir",
    "token",
    "local_files_only",
    "force_download",
    "subfolder",
    "progress",
)

_NAME = r"[A-Za-z0-9_][\w.-]*/[A-Za-z0-9_][\w.-]*"
_REVISION = r"refs/(?:pr|convert)/[^/]+|[^/@]+"
_BARE = re.compile(rf"({_NAME})(?:@({_REVISION}))?")
_WHOLE = re.compile(
    rf"hf:/{{1,2}}(?:models/)?({_NAME})(?:@({_REVISION}))?(?:/(.*?))?/?"
)  # Path("hf://a") has one slash
_FILES = (".pth", ".pt", ".ckpt", ".bin", ".safetensors", ".json", ".yaml", ".yml", ".npy", ".npz")
_COMMIT = re.compile(r"[0-9A-Za-z_-]+")
_MOST_REFERENCE = 1000  # bytes of the name of a commit
_CALLS = 5  # that an upload makes before and after its bytes
_SLOWEST = 128 * 2**10  # bytes a second of an upload
_SLACK = 2**20  # bytes of progress that count as none too many
_LOG_IN = "log in with `hf auth login`, set HF_TOKEN or give token="

T = TypeVar("T")


@dataclass(frozen=True)
class HubAddress:
    """A place in a repository of the hub.  subfolder: a folder or file in it, "" for all of it."""

    repo: str
    revision: str | None = None
    subfolder: str = ""

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        return f"{SCHEME}{self.repo}{revision}{'/' if self.subfolder else ''}{self.subfolder}"


class Located(NamedTuple):
    """A file or folder on this machine.  address and commit: of a repository of the hub that it came from."""

    path: Path
    address: HubAddress | None = None
    commit: str | None = None


def hub_address_of(place: str | Path) -> HubAddress | None:
    """Return the place on the hub that a text names; None for an embedded name and for anything local.

    Raises ConfigError for an hf:// address that is none.
    """
    text = str(place)
    if text.startswith("hf:"):
        if not (match := _WHOLE.fullmatch(text)):
            raise ConfigError(f"{text} is no address on the hub; write hf://owner/name[@revision][/subfolder]")
        return HubAddress(match[1], unquote(match[2]) if match[2] else None, match[3] or "")
    match = _BARE.fullmatch(text)
    if match is None or is_embedded(place) or Path(place).exists() or text.lower().endswith(_FILES):
        return None
    return HubAddress(match[1], unquote(match[2]) if match[2] else None)


def is_name(place: str | Path) -> bool:
    """Return True if ``place`` is the name of an embedded model or of a place on the hub, and no path."""
    return is_embedded(place) or hub_address_of(place) is not None


def locate(place: str | Path, wanted: Wanted = "model", **options: Any) -> Located:
    """Return the file or folder that ``place`` names, fetched from the hub if it is there.

    Args:
        place: an embedded model's name, which wins over a folder of that name ("./emoji" is the folder); else a path
            that exists, or an address of a bucket; else "owner/name" or "hf://owner/name[@revision][/subfolder]" on
            the hub.
        wanted: what it is loaded as, which decides what is fetched; "file" leaves a local path unchecked.
        options: revision: a branch, tag or commit.  variant: the one of a part's weights to prefer, as "fp16".
            subfolder: a folder or file in ``place``.  cache_dir: in place of HF_HUB_CACHE.  token: of the hub; by
            default HF_TOKEN or that of `hf auth login`.  local_files_only: take the cache, ask no server.
            force_download: fetch again what the cache has.  progress: False shows no bars; a pipe shows none anyway.

    Raises:
        FileNotFoundError: if a local path does not exist.
        ConfigError: an option that is unknown or of another kind, or an address that is none.
        CheckpointError: whatever keeps a repository from being fetched, in one line that says what to do.
        StorageError: the same of an address of a bucket.
    """
    given = _checked(options)
    address = hub_address_of(place)
    if address is None:
        return Located(_local(place, wanted, given))
    if revision := given.get("revision"):
        if address.revision not in (None, revision):
            raise ConfigError(
                f"revision is {revision!r}, but {place} names {address.revision!r}; leave one of them out"
            )
        address = HubAddress(address.repo, revision, address.subfolder)
    if subfolder := given.get("subfolder"):
        address = HubAddress(address.repo, address.revision, f"{address.subfolder}/{subfolder}".strip("/"))
    with _told(address, given):
        return _fetched(address, wanted, given)


def upload(
    write: Callable[[Path], None],
    repo: str,
    *,
    token: str | bool | None = None,
    private: bool | None = None,
    revision: str | None = None,
    message: str,
    create_pr: bool = False,
) -> str:
    """Upload the folder that ``write`` makes to a repository, new or not, and return the commit's address.

    The other arguments are those of ``VQDiffusionPipeline.push_to_hub``.  Raises ConfigError for a name that is none
    and CheckpointError, one line, for whatever keeps the hub from taking it.
    """
    match = _BARE.fullmatch(repo.removeprefix(SCHEME))
    if match is None or match[2]:
        raise ConfigError(f"{repo} is no repository; write owner/name, and a branch as revision=")
    address, given = HubAddress(match[1], revision), _checked({"token": token})
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "model"
        write(folder)
        with _told(address, given):
            from huggingface_hub import HfApi

            hub = HfApi(token=token)
            size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())

            def commit() -> Any:
                hub.create_repo(address.repo, private=private, exist_ok=True)
                if revision is not None and not create_pr:
                    hub.create_branch(address.repo, branch=revision, exist_ok=True)
                return hub.upload_folder(
                    repo_id=address.repo,
                    folder_path=folder,
                    revision=revision,
                    commit_message=message,
                    create_pr=create_pr or None,
                )

            made = _waited_for(commit, Progress(patience() * _CALLS + size / _SLOWEST))
    return str(made.pr_url or made.commit_url) if create_pr else str(made.commit_url)


def _checked(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that are not None.  Raises ConfigError for an unknown one or one of another kind."""
    kinds: dict[str, Any] = dict.fromkeys(OPTIONS, str)
    kinds |= {"cache_dir": (str, os.PathLike), "token": (str, bool)}
    kinds |= dict.fromkeys(("local_files_only", "force_download", "progress"), bool)
    given = {name: value for name, value in options.items() if value is not None}
    for name, value in given.items():
        if name not in kinds:
            raise ConfigError(f"{name} is no option of a place on the hub; known: {', '.join(OPTIONS)}")
        if not isinstance(value, kinds[name]):
            kind = "True or False" if kinds[name] is bool else "a path" if name == "cache_dir" else "a text"
            shown = type(value).__name__ if name == "token" else repr(value)
            raise ConfigError(f"{name} is {shown}; it must be {kind}")
    return given


def _local(place: str | Path, wanted: Wanted, given: Mapping[str, Any]) -> Path:
    """Return the path of a name that is not on the hub."""
    if is_embedded(place):
        if Path(place).exists():
            warnings.warn(
                f"{place} is the model that comes with the package; the folder of that name is ./{place}", stacklevel=4
            )
        path = folder_of(place)
    else:
        path = here(place)
        if wanted == "file":
            return path
        if not path.exists():
            raise FileNotFoundError(_not_there(path))
    if revision := given.get("revision"):
        warnings.warn(f"revision={revision} goes with a repository of the hub; {place} is local", stacklevel=4)
    if subfolder := given.get("subfolder"):
        if not (path / subfolder).exists():
            raise FileNotFoundError(f"{path} has no subfolder {subfolder}")
        path = path / subfolder
    return path


def _not_there(path: Path) -> str:
    """Return one line about a path where nothing is."""
    around = list(NAMES)
    if os.path.islink(path):
        return f"{path} is a link that leads to no file; give a model folder, a diffusers folder or a .pth file"
    if path.parent.is_dir():
        around += [str(path.parent / entry) for entry in sorted(os.listdir(path.parent))[:1000]]
    hint = did_you_mean(str(path), around, cutoff=0.75)
    return (
        f"{path} does not exist; give a model folder, a diffusers folder, a .pth file, the name {' or '.join(NAMES)}, "
        f"or owner/name or hf://owner/name on the Hugging Face hub{hint}"
    )


def _fetched(address: HubAddress, wanted: Wanted, given: Mapping[str, Any]) -> Located:
    """Fetch what is needed of a repository into the cache of huggingface_hub."""
    from huggingface_hub import HfApi, constants, snapshot_download  # imported when needed: it takes a second

    variant, cache = given.get("variant"), Path(given.get("cache_dir") or constants.HF_HUB_CACHE)
    shared: dict[str, Any] = {"revision": address.revision, "cache_dir": given.get("cache_dir")}
    shared |= {"token": given.get("token"), "force_download": given.get("force_download", False)}
    shared["tqdm_class"] = _bars(hidden=not given.get("progress", True) or not sys.stderr.isatty())
    if not given.get("local_files_only"):
        try:
            hub, wait = HfApi(token=given.get("token")), constants.HF_HUB_ETAG_TIMEOUT
            described = _waited_for(
                lambda: hub.model_info(address.repo, revision=address.revision, timeout=wait), Progress(patience())
            )
        except Exception as error:
            if not _unreachable(error):
                raise
            reason = error
        else:
            names = [file.rfilename for file in described.siblings or []]
            chosen = choose(names, address.subfolder, wanted, variant)
            patterns = [glob.escape(name) for name in chosen.names]
            # Another process may fetch the same file while this one waits.
            progress = Progress(patience(), measured=lambda: _bytes_in(cache / _folder_in_cache(address) / "blobs"))
            folder = _waited_for(lambda: snapshot_download(address.repo, allow_patterns=patterns, **shared), progress)
            return _placed(address, folder, chosen)
    else:
        reason = None
    folder, names = _cached(address, shared)
    chosen = choose(names, address.subfolder, wanted, variant)
    if absent := [name for name in chosen.names if not (folder / name).exists()]:
        raise CheckpointError(
            f"the cache lacks {absent[0]} of it; load it once with a connection, which fetches what is missing"
        )
    if reason is not None:
        warnings.warn(f"{address}: the copy in the cache is used, as the hub cannot be reached", stacklevel=5)
    return _placed(address, folder, chosen)


def _cached(address: HubAddress, shared: Mapping[str, Any]) -> tuple[Path, list[str]]:
    """Return the cached snapshot of a repository, and its files' names: all, if they are known, else those present."""
    import huggingface_hub

    where = {"revision": shared["revision"], "cache_dir": shared["cache_dir"]}
    _check_reference(Path(where["cache_dir"] or huggingface_hub.constants.HF_HUB_CACHE), address)
    # A pattern that no file has: whether the snapshot is whole is checked for the files that are needed.
    folder = Path(huggingface_hub.snapshot_download(address.repo, allow_patterns=["/"], local_files_only=True, **where))
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    listing = getattr(huggingface_hub, "get_cached_repo_tree", None)  # since huggingface_hub 2
    if listing is not None:
        try:
            names = [file.path for file in listing(address.repo, **where)]
        except Exception:  # no list was kept, as by an older release
            return folder, names
    return folder, names


def _check_reference(cache: Path, address: HubAddress) -> None:
    """Raise CheckpointError unless the file in which the cache keeps the commit of a branch names a folder beside it.

    huggingface_hub opens whatever is there, and takes what it says for a path.
    """
    folder = _folder_in_cache(address)
    file = cache / folder / "refs" / (address.revision or "main")
    if not os.path.lexists(file):
        return
    try:
        commit = read_text(file, most=_MOST_REFERENCE)
        wrong = None if _COMMIT.fullmatch(commit) else f"it holds {shown(commit)}, which is no commit"
    except OSError as error:
        wrong = error.strerror
    except ValueError:
        wrong = "it is no text"
    if wrong is not None:
        raise CheckpointError(f"{file} is damaged ({wrong}); delete {cache / folder} to fetch all of it again")


def _placed(address: HubAddress, folder: str | Path, chosen: Chosen) -> Located:
    path = Path(folder) / chosen.place if chosen.place else Path(folder)
    copy_of(folder, str(HubAddress(address.repo, address.revision)))
    return Located(path, HubAddress(address.repo, address.revision, chosen.place), Path(folder).name)


def _bars(*, hidden: bool) -> type:
    """Return the class of progress bars, which end a download that brings more bytes than were announced."""
    from huggingface_hub.utils import tqdm

    class Bars(tqdm):
        def __init__(self, *args: Any, **options: Any):
            self._came = 0.0
            super().__init__(*args, **({**options, "disable": True} if hidden else options))

        def update(self, n: float | None = 1) -> bool | None:
            self._came += n or 0
            if getattr(self, "unit", "B") == "B" and self.total is not None and self._came > self.total + _SLACK:
                raise TooMuch(f"more than the {self.total} bytes of its files come")
            return super().update(n)

    return Bars


def _folder_in_cache(address: HubAddress) -> str:
    return f"models--{address.repo.replace('/', '--')}"


def _bytes_in(folder: Path) -> int:
    """Return the bytes of the files in a folder, 0 if there is none."""
    size = 0
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):  # renamed in this moment
                size += entry.stat().st_size
    return size


def _waited_for(call: Callable[[], T], progress: Progress) -> T:
    """Return what a call of huggingface_hub returns.  Raises NoAnswer, and lets its threads end."""
    try:
        return within(call, progress)
    except NoAnswer:
        from huggingface_hub import close_session

        close_session()
        raise


def _unreachable(error: BaseException) -> bool:
    """Return True if the hub gave no answer: no connection, no answer in time, a fault of its own, or offline mode."""
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    if isinstance(error, HfHubHTTPError):
        return error.response is not None and error.response.status_code >= 500
    transport = type(error).__module__.partition(".")[0] in ("httpx", "httpx2", "httpcore", "httpcore2", "requests")
    return isinstance(error, OfflineModeIsEnabled | ConnectionError | TimeoutError) or transport


@contextmanager
def _told(address: HubAddress, given: Mapping[str, Any]) -> Iterator[None]:
    """Turn whatever keeps a repository from being read or written into a CheckpointError of one line."""
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f"{address}: {error}") from error
    except Exception as error:
        reason = _reason(error, address, given)
        if reason is None:
            raise
        raise CheckpointError(f"{address}: {reason}") from error


def _reason(error: Exception, address: HubAddress, given: Mapping[str, Any]) -> str | None:
    """Return what is wrong and what to do; None for an error that has nothing to do with the hub."""
    from huggingface_hub import constants, errors

    endpoint, cache = constants.ENDPOINT, given.get("cache_dir") or constants.HF_HUB_CACHE
    offline = constants.HF_HUB_OFFLINE
    if isinstance(error, errors.GatedRepoError):
        return f"it is gated: accept its terms on {endpoint}/{address.repo}, then {_LOG_IN}"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"{endpoint} shows no such repository; check the name or, if it is private, {_LOG_IN}"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"it has no revision {address.revision!r}; name a branch, a tag or a commit, by default main"
    if isinstance(error, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled):
        if offline:
            why = "HF_HUB_OFFLINE is set; unset it"
        elif given.get("local_files_only"):
            why = "local_files_only is True; leave it out"
        else:
            why = (
                f"{endpoint} cannot be reached; check the network, name a mirror in HF_ENDPOINT, or download the "
                "folder elsewhere and give its path"
            )
        return f"it is not in the cache {cache}, and {why}"
    if isinstance(error, errors.LocalTokenNotFoundError):
        return f"token is True, but there is none on this machine; {_LOG_IN}"
    if isinstance(error, errors.HFValidationError):
        return one_line(error)
    if isinstance(error, errors.HfHubHTTPError):
        status = error.response.status_code if error.response is not None else None
        if status == 401:
            return f"{endpoint} does not take the token; {_LOG_IN}"
        if status == 403:
            return f"{endpoint} forbids it: the token lacks the rights; make one that has them, then {_LOG_IN}"
        if status == 429:
            return f"{endpoint} has had too many requests; wait a few minutes, or {_LOG_IN}"
        return f"{endpoint} answered {status or 'with an error'}: {one_line(error)[:200]}"
    if isinstance(error, errors.EntryNotFoundError):
        return f"{one_line(error)[:200]}"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk of {cache} is full; make room, or name another place in HF_HOME or cache_dir"
    if isinstance(error, PermissionError):
        place = error.filename or cache
        return f"{place} cannot be written ({error.strerror}); name another place in HF_HOME or cache_dir"
    if isinstance(error, NoAnswer):
        return f"{endpoint}: {error}"
    if isinstance(error, TooMuch):
        return f"{endpoint} sends other files than it announced: {error}; name another in HF_ENDPOINT"
    if _unreachable(error):
        return (
            f"{endpoint} cannot be reached ({one_line(error)[:120]}); check the network, or name a mirror in "
            "HF_ENDPOINT"
        )
    if _of_the_client(error):
        said = f"{type(error).__name__}: {one_line(error)[:120]}"
        return f"{endpoint} answers what no hub does ({said}); try again, or name another in HF_ENDPOINT"
    return None


def _of_the_client(error: BaseException) -> bool:
    """Return whether an error came up within huggingface_hub, as those of answers that it cannot read do."""
    names = (frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(name.partition(".")[0] == "huggingface_hub" for name in names)
