"""The pictures below a folder: every place is visited once, and what is left out is named in an account."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from ..errors import DataError, shown
from ..pictures import EXTENSIONS, UNREAD_EXTENSIONS, moves
from .account import Account
from .splits import splits_in

CAPTION_ENDINGS = (".txt", ".caption", ".TXT", ".CAPTION")  # of the texts beside pictures
_UNREAD = (*UNREAD_EXTENSIONS, ".mp4", ".mov", ".avi", ".webm", ".mkv")
# Folders and files that systems and programs put beside pictures.
_FOREIGN = frozenset(
    {"__macosx", "@eadir", "@tmp", "#recycle", "@recycle", "$recycle.bin", "lost+found", "__pycache__", "thumbs.db"}
    | {"system volume information", "desktop.ini", "ehthumbs.db", "network trash folder", "temporary items"}
)
# The writer of samples puts a sheet of a run's pictures, and --mode=inspect a sheet of examples, beside pictures.
_SHEET = re.compile(r"(?:grid-\d{6,}|contact-sheet(?:-\w+)?)\.png")
_OWN_SHEET = re.compile(rf"{_SHEET.pattern}|\d{{8,}}\.png")
_SHEET_OF_TRAINING = re.compile(r"\d{8,}\.png")  # in the folder samples of a run, by the number of steps
_ANIMATIONS = (".gif", "webp")  # the ends of names of animations that it writes with --return_trajectory
_OF_OWN_FILES = (".png", *_ANIMATIONS)  # the ends of names of all of these
_RUN_WROTE = re.compile(r"\d{6,}")  # their names, and of the pictures; others have a recipe beside them


def is_foreign(name: str) -> bool:
    """Return True for the name of a hidden file or folder, or of one that a system or a program made for itself."""
    return name.startswith(".") or name.lower() in _FOREIGN


def picture_files(
    root: Path,
    account: Account,
    *,
    below: Sequence[str] = ("",),
    links_out: bool = False,
    companions: Collection[str] = (),
) -> list[str]:
    """Return the sorted paths of the pictures below ``root``, relative to it and with forward slashes.

    A folder is read once, however many links lead to it.  ``account`` names what is left out: hidden and foreign
    files, what is no regular file, formats that are not read, sheets and animations that this package wrote beside
    pictures, and captions without a picture.

    below: relative paths of the folders to read, by default all.
    links_out: follow links that lead out of ``root``.
    companions: relative paths of other files that are used.
    Raises DataError if ``root`` is no folder, or for a link that leads out of it unless ``links_out``.
    """
    found: list[str] = []
    for folder, entries in folders_below(root, account, below=below, links_out=links_out):
        names: list[str] = []
        others: list[os.DirEntry[str]] = []
        looked_at = False
        for entry in entries:
            name = entry.name
            lower = name.lower()
            if not lower.endswith(EXTENSIONS) or name.startswith(".") or lower in _FOREIGN:
                others.append(entry)
            elif entry.is_file(follow_symlinks=False) or _leads_to_file(entry, folder, root, account, links_out):
                names.append(name)
                looked_at = looked_at or lower.endswith(_OF_OWN_FILES)
        if looked_at and any(name[-4:].lower() in _ANIMATIONS or _OWN_SHEET.fullmatch(name) for name in names):
            names = _without_own_files(names, root, folder, account)
        found += [folder + name for name in names]
        if others:
            used = {name[: name.rfind(".")] for name in names}  # they have an ending, and do not begin with a dot
            for entry in others:
                stem, ending = os.path.splitext(entry.name)
                if stem in used and entry.is_symlink() and ending in CAPTION_ENDINGS:
                    check_inside(root, folder + entry.name, links_out)
            _name_others(others, used, folder, companions, account)
    return sorted(found)


def holds_picture(folder: Path) -> bool:
    """Return True if there is a picture anywhere below a folder, links aside."""
    return any(
        name.lower().endswith(EXTENSIONS) and not is_foreign(name) for _, _, files in os.walk(folder) for name in files
    )


def folders_below(
    root: Path, account: Account, *, below: Sequence[str] = ("",), links_out: bool = False
) -> Iterator[tuple[str, list[os.DirEntry[str]]]]:
    """Yield every folder below ``root`` once: its relative path, "" or with a slash at its end, and its files.

    Folders come before links to folders, so that a link gives its name to a folder only if nothing else does.  Where
    only some folders of ``root`` are read, no link leads to those of another split.
    """
    if not os.path.isdir(root):
        raise DataError(f"{root} is {_kind_of(root)}; a folder is needed")
    start = os.fspath(root)
    waiting = [f"{folder}/" if folder else "" for folder in below]
    above = {part for folder in waiting for part in _parents(folder)}
    visited = {_place(os.path.join(start, folder)) for folder in {*waiting, *above}}
    links: list[str] = []
    while waiting or links:
        if waiting:
            folder = waiting.pop()
        else:
            folder = links.pop()
            place = _place(os.path.join(start, folder))
            if place in visited:
                account.left_out("a link to a folder that is read already", folder.rstrip("/"))
                continue
            if "" not in below and _leads_to_another_split(os.path.join(start, folder), start, below):
                account.left_out("a link to a folder of another split", folder.rstrip("/"))
                continue
            visited.add(place)
        try:
            with os.scandir(os.path.join(start, folder)) as scanned:
                entries = list(scanned)
        except OSError as error:
            account.left_out(f"a folder that cannot be read ({error.strerror})", folder.rstrip("/") or ".")
            continue
        files = []
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if is_foreign(entry.name):
                    account.left_out("a hidden or foreign folder", folder + entry.name)
                elif (place := _place(entry.path)) in visited:  # below a link
                    account.left_out("a folder that is read already", folder + entry.name)
                else:
                    waiting.append(f"{folder}{entry.name}/")
                    visited.add(place)
            elif entry.is_symlink() and is_folder(entry):
                if is_foreign(entry.name):
                    account.left_out("a hidden or foreign folder", folder + entry.name)
                else:
                    check_inside(root, folder + entry.name, links_out)
                    links.append(f"{folder}{entry.name}/")
            else:
                files.append(entry)
        waiting.sort(reverse=True)
        links.sort(reverse=True)
        if not entries:
            account.left_out("an empty folder", folder.rstrip("/") or ".")
        yield folder, files


def check_inside(root: Path, name: str, links_out: bool) -> None:
    """Raise DataError if the relative path ``name`` leads out of the folder ``root`` and ``links_out`` is not set."""
    if links_out:
        return
    target, top = os.path.realpath(os.path.join(root, name)), os.path.realpath(root)
    if target != top and not target.startswith(top.rstrip(os.sep) + os.sep):
        raise DataError(
            f"{root}: {name} leads out of the data folder, to {target}; remove it, or set options.links_out=True"
        )


def check_names(names: Iterable[str], where: str | Path) -> None:
    """Raise DataError for a relative path of a list that leads out of its folder; ``where`` names the list."""
    if (astray := next((name for name in names if os.path.isabs(name) or ".." in name.split("/")), None)) is not None:
        raise DataError(f"{where} names {shown(astray)}, which leads out of the data folder; correct or remove it")


def _leads_to_file(entry: os.DirEntry[str], folder: str, root: Path, account: Account, links_out: bool) -> bool:
    """Return True for a link to a file that can be read; what is no file is named in the account."""
    name = folder + entry.name
    if entry.is_symlink():
        check_inside(root, name, links_out)
    if os.path.isfile(entry.path):
        return True
    dangling = entry.is_symlink() and not os.path.exists(entry.path)
    account.left_out("a link to nothing" if dangling else f"{_kind_of(entry.path)}, no regular file", name)
    return False


def _without_own_files(names: list[str], root: Path, folder: str, account: Account) -> list[str]:
    """Return the names without sheets of pictures, and without animations beside a PNG of the same name."""
    here = os.path.join(root, folder)
    of_a_run = _is_of_a_run(here)
    stems = {os.path.splitext(name)[0] for name in names if name.lower().endswith(".png")}
    kept = []
    for name in names:
        stem, ending = os.path.splitext(name)
        if _SHEET.fullmatch(name):
            account.left_out("a sheet of pictures that was written beside them", folder + name)
        elif of_a_run and _SHEET_OF_TRAINING.fullmatch(name):
            account.left_out("a sheet of pictures that training wrote", folder + name)
        elif ending[-4:].lower() in _ANIMATIONS and stem in stems:
            if moves(os.path.join(here, name)):
                account.left_out("an animation beside a picture of the same name", folder + name)
            elif _RUN_WROTE.fullmatch(stem) or os.path.exists(os.path.join(here, f"{stem}.json")):
                account.left_out("a still animation that a run wrote beside its picture", folder + name)
            else:
                kept.append(name)
        else:
            kept.append(name)
    return kept


def _is_of_a_run(folder: str) -> bool:
    """Return True for the folder in which a training run puts sheets of what it has learned."""
    folder = os.path.realpath(folder)
    run = os.path.dirname(folder)
    return os.path.basename(folder) == "samples" and all(
        os.path.exists(os.path.join(run, name)) for name in ("config.json", "metrics.jsonl")
    )


def _name_others(
    entries: list[os.DirEntry[str]], stems: set[str], folder: str, companions: Collection[str], account: Account
) -> None:
    """Name the files of a folder that are neither pictures nor belong to one."""
    for entry in entries:
        name = folder + entry.name
        stem, ending = os.path.splitext(entry.name)
        if name in companions or stem in stems and ending in CAPTION_ENDINGS:
            continue
        if is_foreign(entry.name):
            account.left_out("a hidden or foreign file", name)
        elif ending.lower() in _UNREAD:
            account.left_out(f"in a format that is not read, {ending.lower()}", name)
        elif ending in CAPTION_ENDINGS:
            account.left_out("a text without a picture", name)
        elif stem in stems:
            account.left_out(f"beside a picture but not read, {ending.lower()}", name)
        else:
            account.left_out("no picture by its ending", name)


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Return True for a folder and for a link to one."""
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _parents(folder: str) -> list[str]:
    """Return the folders above a relative one that ends with a slash, the top as ""."""
    names = folder.split("/")[:-2]
    return ["/".join(names[:count]) for count in range(len(names) + 1)] if folder else []


def _leads_to_another_split(link: str, root: str, below: Sequence[str]) -> bool:
    """Return True for a link into a folder of ``root`` that names a split and is none of ``below``."""
    target, top = os.path.realpath(link), os.path.realpath(root) + os.sep
    part = target[len(top) :].partition(os.sep)[0] if target.startswith(top) else ""
    return bool(splits_in(part)) and part not in {folder.partition("/")[0] for folder in below}


def _place(path: str) -> tuple[int, int]:
    try:
        about = os.stat(path)
    except OSError:
        return (-1, hash(path))
    return about.st_dev, about.st_ino


def _kind_of(path: str | Path) -> str:
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return "a link to nothing"
    if stat.S_ISREG(mode):
        return "a file"
    if stat.S_ISFIFO(mode):
        return "a named pipe"
    return "a socket" if stat.S_ISSOCK(mode) else "a folder" if stat.S_ISDIR(mode) else "a device"
