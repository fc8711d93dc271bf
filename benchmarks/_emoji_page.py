"""The page of ``emoji_prompts``: how often the embedded model draws what it is asked, with its pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vqdiffusion_jax.errors import and_more

# What a model of these pictures should reach: shares of right things and of whole pictures.
WANTED = {
    "names": (0.90, 0.80),
    "pairs seen": (0.95, None),
    "pairs held_out": (0.90, None),
    "name": (0.90, 0.80),
    "synonym": (0.90, 0.80),
    "count": (0.80, None),
    "colour": (0.80, None),
    "pair": (0.95, None),
    "relation": (0.95, None),
    "background": (0.99, None),
}
_ABOUT = {
    "names": "every name alone",
    "pairs seen": "two things and how they lie, combinations that training shows",
    "pairs held_out": "two things and how they lie, combinations that training never shows",
    "name": "of the list: names",
    "synonym": "of the list: other names of things",
    "count": "of the list: two to five of a thing",
    "colour": "of the list: things in a colour",
    "pair": "of the list: two things",
    "relation": "of the list: two things and how they lie",
    "background": "of the list: backgrounds",
}
_MOST_NAMED = 40  # wrong prompts of a kind


def page_of(
    model: str, told: Mapping[str, Mapping[str, Any]], wrong: Mapping[str, Sequence[str]], codec: Mapping[str, float]
) -> str:
    """Return emoji.md.

    told: figures by kind of prompt, as ``emoji_prompts.table`` returns them.  wrong: prompts whose things are not
    right, by kind.  codec: dB by name, as ``box_psnr`` and ``photograph_psnr`` return them.
    """
    lines = [
        "# The embedded model, measured",
        "",
        f"The model `{model}`, with its own settings. Made by `python -m benchmarks.emoji_prompts --data=DRAWINGS "
        "--photographs=PHOTOGRAPHS --page=docs/results`, where DRAWINGS is the folder that `python -m "
        "benchmarks.emoji_cpu` makes first, and PHOTOGRAPHS one with an .npz of 64 x 64 pixels.",
        "",
        "Every right picture of a prompt is known, token by token, so a picture is compared with the nearest one and "
        "no judge is asked. *Right*: at least half of the tokens of what should be drawn are as they should be. "
        "*Whole*: at most one token of the 64 differs. One picture a prompt; intervals are Wilson's, of 95 %. A thing "
        "has one drawing, so names alone ask for pictures that training has shown. The list of 200 prompts, as people "
        "type them, was written before any model was trained on these pictures.",
        "",
        "| asked | pictures | right | wanted | whole | wanted | wrong tokens of 64 |",
        "|---|---:|---|---:|---|---:|---:|",
    ]
    for kind, row in told.items():
        right, whole = WANTED.get(kind, (None, None))
        lines.append(
            f"| {_ABOUT.get(kind, kind)} | {row['count']} | {_share(row.get('right'))} | {_percent(right)} | "
            f"{_share(row.get('whole'))} | {_percent(whole)} | {row.get('wrong', 0.0):.2f} |"
        )
    if left_out := sum(row["without_drawings"] for row in told.values()):
        lines += ["", f"{left_out} prompts ask for what there is no drawing of, and are not counted."]
    lines += [
        "",
        "The codec alone, inside the drawings' squares on white, and of whole photographs of clothes, which it was "
        "never shown: "
        + ", ".join(f"{name} {value:.1f} dB" for name, value in codec.items())
        + "; 30 dB are wanted of drawings, 22 of photographs.",
    ]
    for kind in told:
        lines += ["", f"## {_ABOUT.get(kind, kind)[:1].upper()}{_ABOUT.get(kind, kind)[1:]}", ""]
        if named := wrong.get(kind):
            lines += [f"Not right, {len(named)}: {and_more(list(named[:_MOST_NAMED]), len(named))}.", ""]
        lines.append(f"![The worst first]({'emoji/' + kind.replace(' ', '_')}.png)")
    return "\n".join(lines) + "\n"


def _share(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return ""
    low, high = found["interval"]
    return f"{found['share']:.0%} ({low:.0%} to {high:.0%})".replace("%", " %")


def _percent(wanted: float | None) -> str:
    return "" if wanted is None else f"{wanted:.0%}".replace("%", " %")
