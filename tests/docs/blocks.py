"""Markdown documents as their blocks of code, and shell blocks as commands.

No markup is needed: a fence says its language; an indented block, or a fence without a language, is commands where
its first word could be a program's name, and otherwise (an equation) text.
"""

from __future__ import annotations

import json
import re
import shlex
import textwrap
from dataclasses import dataclass
from pathlib import Path

from vqdiffusion_jax.embedded import NAMES

LANGUAGES = {
    "python": "python",
    "sh": "shell",
    "shell": "shell",
    "bash": "shell",
    "console": "shell",
    "text": "text",
    "json": "text",
}
_PROGRAM = re.compile(r"(\w+=\S* +)*[a-z][a-z0-9./+-]*( (?!=)|$)")
_FENCE = re.compile(r"(`{3,}|~{3,}) *(\S*)")
_LIST = re.compile(r"([-*+]|\d+\.) ")


@dataclass(frozen=True)
class Block:
    """Code of one language; ``line`` is its first in the document, from 1."""

    language: str
    text: str
    line: int


def documents(root: Path) -> list[Path]:
    """Return the documents at the top, those below docs and the cards of the embedded models, relative to ``root``."""
    below = sorted(path.relative_to(root) for path in (root / "docs").rglob("*.md"))
    top = [Path(name) for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    cards = [Path("vqdiffusion_jax/assets") / name / "README.md" for name in NAMES]
    return [*top, *below, *cards]


def read_notebook(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def cells(path: Path, kind: str) -> list[str]:
    """Return the text of a notebook's cells of a kind, "code" or "markdown", in order."""
    return ["".join(cell["source"]) for cell in read_notebook(path)["cells"] if cell["cell_type"] == kind]


def blocks(text: str) -> list[Block]:
    """Return the code blocks of a document, in order.

    Raises ValueError for a fence that is not closed or of an unknown language.
    """
    found, lines, at = [], text.splitlines(), 0
    while at < len(lines):
        if fence := _FENCE.match(lines[at].lstrip()):
            start, at = at + 1, at + 1
            while at < len(lines) and not lines[at].lstrip().startswith(fence[1]):
                at += 1
            if at == len(lines):
                raise ValueError(f"line {start}: a fence that is not closed")
            content = textwrap.dedent("\n".join(lines[start:at]))
            if fence[2] and fence[2] not in LANGUAGES:
                raise ValueError(f"line {start}: a fence of language {fence[2]!r}; known: {', '.join(LANGUAGES)}")
            found.append(Block(LANGUAGES[fence[2]] if fence[2] else _guess(content), content, start + 1))
            at += 1
        elif lines[at].startswith("    ") and not (at and lines[at - 1].strip()):
            start = at
            while at < len(lines) and (lines[at].startswith("    ") or not lines[at].strip()):
                at += 1
            before = next((line for line in reversed(lines[:start]) if line.strip()), "")
            if _LIST.match(before):  # the second paragraph of a list's entry
                continue
            content = textwrap.dedent("\n".join(lines[start:at])).rstrip()
            found.append(Block(_guess(content), content, start + 1))
        else:
            at += 1
    return found


def _guess(text: str) -> str:
    return "shell" if _PROGRAM.match(text) else "text"


def commands(block: Block) -> list[tuple[int, list[str]]]:
    """(line, words) of every command of a shell block; comments and variables set in front are left out.

    Raises ValueError for a quotation that is not closed.
    """
    found, joined, first = [], "", block.line
    for number, line in enumerate(block.text.splitlines(), block.line):
        if not joined:
            first = number
        if line.endswith("\\"):
            joined += line[:-1]
            continue
        words = shlex.split(joined + line, comments=True)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words.pop(0)
        if words:
            found.append((first, words))
        joined = ""
    if joined:
        raise ValueError(f"line {first}: the last line of the block ends with a backslash")
    return found


def links(text: str) -> list[tuple[int, str]]:
    """(line, target) of every link and picture outside code."""
    found, fence = [], ""
    for number, line in enumerate(text.splitlines(), 1):
        if opened := _FENCE.match(line.lstrip()):
            fence = "" if fence and line.lstrip().startswith(fence) else fence or opened[1]
        elif not fence and not line.startswith("    "):
            found += [(number, target) for target in re.findall(r"\]\(([^)\s]*)\)", re.sub(r"`[^`]*`", "", line))]
    return found


def anchors(text: str) -> set[str]:
    """The endings of links to the document's headings, as GitHub makes them of their words."""
    found, fence = {}, ""
    for line in text.splitlines():
        if opened := _FENCE.match(line):
            fence = "" if fence and line.startswith(fence) else fence or opened[1]
        elif not fence and (heading := re.match(r"#{1,6} +(.*?)[ #]*$", line)):
            words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading[1]).lower()
            name = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
            found[name] = found.get(name, -1) + 1
            if found[name]:
                found[f"{name}-{found[name]}"] = 0
    return set(found)
