"""The page of ``emoji_defaults``: a table with intervals by bootstrap, and a plot of right pictures against variety."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from vqdiffusion_jax.evaluation.svg import point_plot

from .emoji_truth import KINDS

RESAMPLES = 2000
MOST_WRONG = 2  # of 64 tokens, in a picture that counts as right
MOST_PASSES = 20  # of a default
_TOLD = {"names": "a name alone", "pairs": "two names", "captions": "complete captions"}


def page(table: Mapping[str, Any]) -> dict[str, str]:
    """Return the text of emoji_defaults.md and of its plot, by file name."""
    rng = np.random.default_rng(0)
    rows = {name: summary(row, table["seen_styles"], rng) for name, row in table["rows"].items()}
    head = ["setting", "passes", "right", *(f"right, {_TOLD[kind]}" for kind in KINDS), "wrong tokens", "distance"]
    lines = [f"| {' | '.join([*head, 'pictures'])} |", "|---" * (len(head) + 1) + "|"]
    lines += [f"| {number}. {name} | {' | '.join(_cells(row))} |" for number, (name, row) in enumerate(rows.items(), 1)]
    former = next(iter(rows.values()), None)  # the first row is the default of before
    quick = {
        name: row
        for name, row in rows.items()
        if former and row["passes"] <= MOST_PASSES and row["distance"][0] <= former["distance"][2]
    }
    best = max(quick, key=lambda name: quick[name]["right"]["of_all"][0]) if quick else "none yet"
    text = _TEXT.format(best=best, most=MOST_PASSES, wrong=MOST_WRONG, resamples=RESAMPLES, table="\n".join(lines))
    points = {
        str(number): (row["distance"][0], 100 * row["right"]["of_all"][0])
        for number, row in enumerate(rows.values(), 1)
    }
    title = "Settings of the embedded model, by their row"
    plot = point_plot(title, "distance from the styles of training", "right, %", points)
    return {"emoji_defaults.md": text + f"\n<sub>model {table['of']['model']}</sub>\n", "emoji_defaults.svg": plot}


def summary(row: Mapping[str, Any], seen_styles: Mapping[str, list[str]], rng: np.random.Generator) -> dict[str, Any]:
    """Return the figures of a row, each as (value, low, high), the ends of a 95 % interval."""
    wrong = {kind: np.asarray(row[kind]["wrong"]) for kind in KINDS if row[kind]["wrong"]}
    right = {kind: values <= MOST_WRONG for kind, values in wrong.items()}
    names = row["names"]
    return {
        "passes": float(np.mean([value for kind in KINDS for value in row[kind]["passes"]])),
        "right": {kind: interval([values], rng) for kind, values in right.items()}
        | {"of_all": interval(list(right.values()), rng)},
        "wrong": interval(list(wrong.values()), rng),
        "distance": _distance(names["concepts"], [style for (style,) in names["styles"]], seen_styles, rng),
        "pictures": [len(values) for values in wrong.values()],
    }


def interval(groups: list[np.ndarray], rng: np.random.Generator) -> tuple[float, ...]:
    """Return the mean of the groups' means and the ends of its 95 % interval: pictures are drawn anew in each group."""
    drawn = np.mean([rng.choice(group, (RESAMPLES, len(group))).mean(axis=1) for group in groups], axis=0)
    return (float(np.mean([group.mean() for group in groups])), *np.quantile(drawn, (0.025, 0.975)).tolist())


def _distance(
    concepts: list[str], styles: list[str], seen_styles: Mapping[str, list[str]], rng: np.random.Generator
) -> tuple[float, ...]:
    """Return how far the styles that a name alone gives are from those it had in training, with a 95 % interval.

    In training each seen style is equally frequent.  The distance is the root of the mean over names of
    sum (p - q)^2, of which what few pictures add on average, (1 - sum p^2) / (n - 1), is taken away: so rows of other
    numbers of pictures compare.
    """
    squares, drawn = [], []
    for concept in dict.fromkeys(concepts):
        of_it = [style for one, style in zip(concepts, styles, strict=True) if one == concept]
        seen, count = seen_styles[concept], len(of_it)
        names = sorted({*seen, *of_it})
        wanted = np.array([(name in seen) / len(seen) for name in names])
        shares = np.array([of_it.count(name) / count for name in names])
        squares.append(_square(shares, wanted, count))
        drawn.append(_square(rng.multinomial(count, shares, RESAMPLES) / count, wanted, count))
    square, error = float(np.mean(squares)), float(np.mean(drawn, axis=0).std())
    value, low, high = np.sqrt(np.clip([square, square - 1.96 * error, square + 1.96 * error], 0.0, None)).tolist()
    return value, low, high


def _square(shares: np.ndarray, wanted: np.ndarray, count: int) -> np.ndarray:
    """Return the squared distance of shares (..., styles) of ``count`` pictures, without what their number adds."""
    return ((shares - wanted) ** 2).sum(-1) - (1.0 - (shares**2).sum(-1)) / max(1, count - 1)


def _cells(row: Mapping[str, Any]) -> list[str]:
    right = [_percent(row["right"]["of_all"])]
    right += [_percent(row["right"][kind]) if kind in row["right"] else "" for kind in KINDS]
    value, low, high = row["wrong"]
    distance = "{:.2f} ({:.2f} to {:.2f})".format(*row["distance"])
    pictures = " + ".join(map(str, row["pictures"]))
    return [f"{row['passes']:.1f}", *right, f"{value:.2f} ({low:.2f} to {high:.2f})", distance, pictures]


def _percent(figures: tuple[float, ...]) -> str:
    value, low, high = (100 * one for one in figures)
    return f"{value:.0f} % ({low:.0f} to {high:.0f})"


_TEXT = """# Settings for the model of sixteen things

Made by `python -m benchmarks.emoji_defaults`. A picture's 64 tokens are compared with those of every scene that its
prompt is true of; *right* is a picture of which at most {wrong} differ from the nearest one. No judge is asked. A name
alone is a large drawing on white in any of the concept's styles; two names are told with how they lie and the
background, and leave the styles open; a complete caption is true of one scene. Combinations that training never shows
are among the last two. *Right* and *wrong tokens* are means of the three kinds. All rows have the same prompts and
noise.

A *pass* is a forward of one picture through the denoiser; a guided call takes two. *Distance* compares the shares of
the styles drawn for a name with those it had in training: the root of the summed squared differences, in the mean
over names, without what a small number of pictures adds to it. 0 is as varied as training. 95 % intervals are by
bootstrap, {resamples} times. Rows that fell behind were drawn no further.

{table}

The default is the row with the most right pictures among those of at most {most} passes that are no farther from
training than the upper end of the first row's interval, the default of before: **{best}**.

![Share of right pictures over distance](emoji_defaults.svg)
"""
