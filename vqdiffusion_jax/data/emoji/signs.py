"""Plain shapes, letters and digits, drawn in one colour."""

from __future__ import annotations

import io
import math
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from . import packages
from .styles import Draw, vector

STYLE, WORD = "plain", "plain"
_COLOUR = "#2f6fdb"  # any saturated colour: whoever composes pictures gives signs others
_FONT_FILE = "nunito-latin-800-normal.woff"


def _polygon(corners: int, turn: float = 0.0, inner: float = 1.0) -> str:
    """Return a regular polygon, first corner up, or a star: every second corner lies at ``inner`` of the radius."""
    points = []
    for i in range(corners):
        angle, radius = 2 * math.pi * (i + turn) / corners, 7.0 * (inner if i % 2 else 1.0)
        points.append(f"{8 + radius * math.sin(angle):.3f},{8 - radius * math.cos(angle):.3f}")
    return f'<polygon points="{" ".join(points)}" fill="{_COLOUR}"/>'


_SHAPES = {
    "circle": f'<circle cx="8" cy="8" r="6.8" fill="{_COLOUR}"/>',
    "square": f'<rect x="1.8" y="1.8" width="12.4" height="12.4" fill="{_COLOUR}"/>',
    "triangle": f'<polygon points="8,1.5 15,13.8 1,13.8" fill="{_COLOUR}"/>',
    "rectangle": f'<rect x="1" y="4" width="14" height="8" fill="{_COLOUR}"/>',
    "oval": f'<ellipse cx="8" cy="8" rx="7.2" ry="4.6" fill="{_COLOUR}"/>',
    "rhombus": f'<polygon points="8,0.8 13.5,8 8,15.2 2.5,8" fill="{_COLOUR}"/>',
    "pentagon": _polygon(5),
    "hexagon": _polygon(6, 0.5),
    "cross": f'<path d="M6 1.5h4V6h4.5v4H10v4.5H6V10H1.5V6H6z" fill="{_COLOUR}"/>',
    "arrow": f'<path d="M1 6h7V2.2L15 8l-7 5.8V10H1z" fill="{_COLOUR}"/>',
    "circle outline": f'<circle cx="8" cy="8" r="5.8" fill="none" stroke="{_COLOUR}" stroke-width="2"/>',
    "spiral": f'<path d="M8 8a1.6 1.6 0 0 1 3.2 0a4 4 0 0 1-8 0a5.6 5.6 0 0 1 11.2 0" fill="none" '
    f'stroke="{_COLOUR}" stroke-width="1.6"/>',
}


def signs(folder: Path) -> Iterator[tuple[dict[str, Any], Draw]]:
    """Yield a line of captions.jsonl and a way to draw it for each shape, letter and digit; ``folder`` has the font."""
    for name, body in _SHAPES.items():
        yield _line(name, "shapes", f"shape-{name.replace(' ', '-')}", "MIT"), vector(_svg(body))
    yield from _letters(folder)


def _letters(folder: Path) -> Iterator[tuple[dict[str, Any], Draw]]:
    font = packages.read_files(folder, packages.LETTERS, _FONT_FILE)[_FONT_FILE]
    for sign in string.ascii_uppercase + string.digits:
        kind = "digit" if sign.isdigit() else "letter"
        yield _line(f"{kind} {sign}", "letters and digits", f"{ord(sign):04x}", "OFL-1.1"), _letter(font, sign)


def _line(name: str, subgroup: str, code: str, license: str) -> dict[str, Any]:
    line = {"caption": name, "style": STYLE, "style_word": WORD, "tags": [], "group": "signs", "subgroup": subgroup}
    return line | {"codepoint": code, "license": license}


def _svg(body: str) -> str:
    return f'<svg xmlns="http://www.w3.org/2000/svg" width="16" height="16" viewBox="0 0 16 16">{body}</svg>'


def _letter(font: bytes, sign: str) -> Draw:
    def draw(size: int) -> Image.Image:
        side = 4 * size
        picture = Image.new("RGBA", (side, side), (0, 0, 0, 0))
        face = ImageFont.truetype(io.BytesIO(font), int(1.1 * side))
        ImageDraw.Draw(picture).text((side / 2, side * 0.87), sign, fill=_COLOUR, font=face, anchor="ms")
        return picture.resize((size, size), Image.Resampling.LANCZOS)

    return draw
