"""From packages to emoji.npz and captions.jsonl."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DataError
from ...files import check_empty, whole_or_not_at_all
from ..scenes.concepts import all_concepts
from ..scenes.drawings import ARRAY, TABLE
from . import packages
from .signs import signs
from .styles import Draw, Style, read_styles, without_variation


def build(out: Path, *, size: int = 64, tarballs: Path | None = None) -> int:
    """Write ``out``/emoji.npz, ``images`` (n, size, size, 4) uint8, straight alpha, and a line each in captions.jsonl.

    Drawn are the concepts of scenes/concepts.txt in every style that has them, style by style, by code points; then
    plain shapes, letters and digits.

    Args:
      out: folder to make; absent or empty.
      size: pixels a side.
      tarballs: folder of the packages' tarballs; those that are missing are downloaded there.  By default all are
        downloaded, into a folder that is deleted afterwards.
    Returns:
      The number of drawings.
    Raises:
      DataError, FileExistsError: one line; nothing is left behind.
    """
    if not 8 <= size <= 1024:
        raise DataError(f"size is {size}; it must be 8 to 1024 pixels")
    check_empty(out)
    with tempfile.TemporaryDirectory() as downloads:
        folder = Path(downloads) if tarballs is None else tarballs
        folder.mkdir(parents=True, exist_ok=True)
        packages.fetch(folder)
        rows, drawings = _list_drawings(read_styles(folder), _names(folder))
        for row, draw in signs(folder):
            rows.append({"i": len(rows)} | row)
            drawings.append(draw)
    images = np.stack([np.asarray(draw(size)) for draw in drawings])
    with whole_or_not_at_all(out) as place:
        np.savez_compressed(place / ARRAY, images=images)
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (place / TABLE).write_text("".join(lines), encoding="utf-8")
    return len(images)


def _list_drawings(styles: Iterable[Style], names: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[Draw]]:
    """Return a line and a way to draw it for every style and emoji."""
    rows, drawings = [], []
    for style in styles:
        for name in names:
            draw = style.find(name["codepoint"], name["caption"])
            if draw is not None:
                row = {"i": len(rows), "caption": name["caption"], "style": style.name, "style_word": style.word}
                rows.append(
                    row
                    | {key: name[key] for key in ("tags", "group", "subgroup", "codepoint")}
                    | {"license": style.license}
                )
                drawings.append(draw)
    return rows, drawings


def _names(folder: Path) -> list[dict[str, Any]]:
    """Return caption, tags, group, subgroup and code points of every concept, sorted by code points.

    Raises:
      DataError: a concept is unknown.
    """
    table = {entry["label"]: entry for entry in packages.read_json(folder, packages.NAMES, "package/en/data.json")}
    words = packages.read_json(folder, packages.NAMES, "package/en/messages.json")
    groups, subgroups = (
        {entry["order"]: entry["message"] for entry in words[kind]} for kind in ("groups", "subgroups")
    )
    concepts = all_concepts()
    if unknown := [concept for concept in concepts if concept not in table]:
        raise DataError(f"{packages.NAMES} does not know {', '.join(unknown[:5])}; concepts.txt must hold its labels")
    names = [
        {
            "caption": concept,
            "tags": entry.get("tags", []),
            "group": groups[entry["group"]],
            "subgroup": subgroups[entry["subgroup"]],
            "codepoint": without_variation(entry["hexcode"]),
        }
        for concept, entry in ((concept, table[concept]) for concept in concepts)
    ]
    return sorted(names, key=lambda name: name["codepoint"])
