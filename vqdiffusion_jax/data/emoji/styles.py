"""Seven drawing styles, each able to draw some emoji as (size, size) pictures with transparency."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from ..extras import needed
from . import packages

_LANCZOS = Image.Resampling.LANCZOS
_OVERSAMPLING = (
    2  # vector drawings are rendered larger and resized, which smooths thin lines better than the renderer does
)
_VARIATION = "-fe0f"  # "draw in colour" in code points; some packages write it, others do not

Draw = Callable[[int], Image.Image]  # size in pixels -> RGBA


@dataclass(frozen=True, kw_only=True)
class Style:
    """A designer's set: what it is called, its licence, and how to find a drawing."""

    name: str
    word: str  # in captions
    license: str
    find: Callable[[str, str], Draw | None]  # (code points, name) -> how to draw it, or None if it is not in the set


def read_styles(folder: Path) -> tuple[Style, ...]:
    """Return all styles from the packages in ``folder``.

    Raises:
      DataError: resvg-py is not installed, or a package is not as expected.
    """
    needed("resvg_py", "drawing the vector styles")
    rasters = packages.read_files(folder, packages.FLUENT_3D, ".webp")
    rasters = {without_variation(name.removesuffix(".webp")): data for name, data in rasters.items()}

    def find_raster(code: str, name: str) -> Draw | None:
        return _raster(rasters[code]) if code in rasters else None

    styles = [Style(name="fluent-3d", word="3d", license="MIT", find=find_raster)]
    for style, word, license, package in (
        ("noto", "flat shaded", "Apache-2.0", packages.NOTO),
        ("twemoji", "flat", "CC-BY-4.0", packages.TWEMOJI),
        ("fxemoji", "outlined", "Apache-2.0", packages.FXEMOJI),
        ("fluent-color", "gradient", "MIT", packages.FLUENT_COLOR),
        ("fluent-flat", "simple", "MIT", packages.FLUENT_FLAT),
        ("emojione", "cartoon", "CC-BY-4.0", packages.EMOJIONE),
    ):
        icons = packages.read_json(folder, package, "/icons.json")
        codes = packages.read_json(folder, package, "/chars.json")  # empty where icons are known by name alone
        styles.append(Style(name=style, word=word, license=license, find=_finder(icons, codes)))
    return tuple(styles)


def without_variation(code: str) -> str:
    """Code points joined by hyphens, lower case, without the colour variation selector."""
    return code.lower().replace(_VARIATION, "")


def _finder(icons: Mapping[str, Any], codes: Mapping[str, str]) -> Callable[[str, str], Draw | None]:
    def find(code: str, name: str) -> Draw | None:
        key = codes.get(code) if codes else re.sub("[^a-z0-9]+", "-", name.lower().replace("’", "")).strip("-")
        return vector(_svg(icons, key)) if key is not None and key in icons["icons"] else None

    return find


def _svg(icons: Mapping[str, Any], key: str) -> str:
    icon = icons["icons"][key]
    width, height = (icon.get(side, icons.get(side, 16)) for side in ("width", "height"))
    box = f"{icon.get('left', 0)} {icon.get('top', 0)} {width} {height}"
    spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f'<svg {spaces} width="{width}" height="{height}" viewBox="{box}">{icon["body"]}</svg>'


def vector(svg: str) -> Draw:
    """Return a way to draw an SVG document."""

    def draw(size: int) -> Image.Image:
        import resvg_py

        # The default of 0 dots an inch fails on drawings measured in points or millimetres.
        pixels = size * _OVERSAMPLING
        return _resized(bytes(resvg_py.svg_to_bytes(svg_string=svg, width=pixels, height=pixels, dpi=96)), size)

    return draw


def _raster(data: bytes) -> Draw:
    return lambda size: _resized(data, size)


def _resized(data: bytes, size: int) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGBA").resize((size, size), _LANCZOS)
