"""Plots as SVG text: small, the same everywhere, and no library needed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 640, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 76, 24, 44, 56
_COLOURS = ("#0b6fa4", "#c8553d", "#3a7d44", "#7b4fa3", "#a37b00")


def line_plot(title: str, x_label: str, y_label: str, x: Sequence[float], lines: Mapping[str, Sequence[float]]) -> str:
    """Return an SVG document with one line, and dots, for each entry of ``lines`` over ``x``."""
    parts, x_of, y_of = _frame(title, x_label, y_label, x, [value for values in lines.values() for value in values])
    for number, (name, values) in enumerate(lines.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        places = [(x_of(a), y_of(b)) for a, b in zip(x, values, strict=True)]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        if len(places) <= 30:
            parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3.5" fill="{colour}"/>' for a, b in places]
        if len(lines) > 1:
            y = _TOP + 14 * number + 10
            parts.append(f'<text x="{WIDTH - _RIGHT}" y="{y}" text-anchor="end" fill="{colour}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>", ""])


def point_plot(title: str, x_label: str, y_label: str, points: Mapping[str, tuple[float, float]]) -> str:
    """Return an SVG document with a dot, and its name beside it, for each entry of ``points``."""
    parts, x_of, y_of = _frame(title, x_label, y_label, *zip(*points.values(), strict=True))
    for number, (name, (x, y)) in enumerate(points.items()):
        colour, right = _COLOURS[number % len(_COLOURS)], x_of(x) > WIDTH / 2
        parts.append(f'<circle cx="{x_of(x):.1f}" cy="{y_of(y):.1f}" r="4" fill="{colour}"/>')
        anchor, offset = ("end", -8) if right else ("start", 8)
        place = f'x="{x_of(x) + offset:.1f}" y="{y_of(y) + 4:.1f}" text-anchor="{anchor}"'
        parts.append(f'<text {place} font-size="10" fill="{colour}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _frame(title: str, x_label: str, y_label: str, x: Sequence[float], y: Sequence[float]):
    """Return the beginning of a document with axes and labels, and the scales of both axes."""
    x_ticks, y_ticks = _ticks(min(x), max(x)), _ticks(min(y), max(y))
    x_of = _scale((x_ticks[0], x_ticks[-1]), (_LEFT, WIDTH - _RIGHT))
    y_of = _scale((y_ticks[0], y_ticks[-1]), (HEIGHT - _BOTTOM, _TOP))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{WIDTH / 2}" y="22" text-anchor="middle" font-size="15">{escape(title)}</text>',
        f'<text x="{WIDTH / 2}" y="{HEIGHT - 14}" text-anchor="middle">{escape(x_label)}</text>',
        f'<text transform="translate(16 {HEIGHT / 2}) rotate(-90)" text-anchor="middle">{escape(y_label)}</text>',
    ]
    for tick in x_ticks:
        parts.append(f'<text x="{x_of(tick):.1f}" y="{HEIGHT - _BOTTOM + 18}" text-anchor="middle">{tick:g}</text>')
    for tick in y_ticks:
        parts.append(f'<path d="M{_LEFT} {y_of(tick):.1f}H{WIDTH - _RIGHT}" stroke="#dddddd"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y_of(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>')
    return parts, x_of, y_of


def _scale(domain: tuple[float, float], screen: tuple[float, float]):
    span = (domain[1] - domain[0]) or 1.0
    return lambda value: screen[0] + (value - domain[0]) / span * (screen[1] - screen[0])


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers from at most ``low`` to at least ``high``, about five of them."""
    if high <= low:
        low, high = low - 0.5, high + 0.5
    raw = (high - low) / 5
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(step * number, 12) for number in range(first, last + 1)]
