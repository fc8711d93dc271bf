"""The report of an evaluation: report.json, report.md and plots.  The same chunks give the same bits."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..files import write_whole
from .likelihood import Likelihood
from .metrics import Results
from .protocol import Protocol, to_table
from .svg import line_plot, point_plot

# Name: (what it is, whether more is better).
MEANING = {
    "fid": ("Frechet inception distance", False),
    "kid": ("kernel inception distance", False),
    "kid_std": ("its deviation over subsets", None),
    "inception_score": ("Inception Score", True),
    "inception_score_std": ("its deviation over parts", None),
    "precision": ("precision, k = 3", True),
    "recall": ("recall, k = 3", True),
    "quality_score_gmm": ("GIQA quality score, mixture of Gaussians (nats)", True),
    "diversity_score_gmm": ("GIQA diversity score, mixture of Gaussians (nats)", True),
    "quality_score_knn": ("GIQA quality score, nearest neighbour", True),
    "diversity_score_knn": ("GIQA diversity score, nearest neighbour", True),
    "clip_score": ("CLIP score, mean cosine", True),
    "concept_seen": ("everything named is there, seen combinations", True),
    "concept_held_out": ("everything named is there, held-out combinations", True),
    "background_seen": ("background right, seen combinations", True),
    "background_held_out": ("background right, held out with the concept", True),
    "relation_seen": ("two drawings lie as asked, seen combinations", True),
    "relation_held_out": ("two drawings lie as asked, held-out relation", True),
    "judge_concept": ("the judge itself on real pictures: concepts", None),
    "judge_background": ("the judge itself on real pictures: background", None),
    "judge_relation": ("the judge itself on real pictures: relation", None),
    "judge_fid": ("Frechet distance of the judge's features", False),
    "judge_precision": ("precision on the judge's features, k = 3", True),
    "judge_recall": ("recall on the judge's features, k = 3", True),
    "bits_per_token": ("variational bound, bits a token", False),
    "bits_per_token_error": ("its standard error over examples", None),
    "psnr": ("PSNR of reconstructions, dB", True),
    "ssim": ("SSIM of reconstructions", True),
    "rfid": ("FID of reconstructions", False),
    "codes_used": ("share of codes used", True),
    "code_perplexity": ("perplexity of codes", True),
}


def write_report(
    out: Path, protocol: Protocol, about: Mapping[str, Any], results: Results, likelihood: Likelihood | None = None
) -> None:
    """Write report.json, report.md and, with a likelihood, likelihood.svg into ``out``.

    about: checkpoint, data, counts and arithmetic (dtype, platform), in plain JSON types, without times, which differ
    from run to run.
    """
    if likelihood is not None:
        bound = {"bits_per_token": likelihood.bits_per_token, "bits_per_token_error": likelihood.standard_error}
        results = replace(results, scores=results.scores | bound)
    table: dict[str, Any] = {"about": dict(about), **to_plain(results), "protocol": to_table(protocol)}
    if likelihood is not None:
        table["likelihood"] = {"prior": likelihood.prior, "by_timestep": likelihood.by_timestep.tolist()}
        plot = line_plot(
            "Bits a token by timestep",
            "timestep",
            "bits a token",
            np.arange(len(likelihood.by_timestep)).tolist(),
            {"bound": likelihood.by_timestep.tolist()},
        )
        _write(out / "likelihood.svg", plot)
    _write(out / "report.json", json.dumps(table, indent=2) + "\n")
    _write(out / "report.md", as_markdown(protocol, about, results, plot="likelihood.svg" if likelihood else None))


def to_plain(results: Results) -> dict[str, Any]:
    """Return results in plain JSON types: ``scores``, ``warnings`` and any ``shares`` with 95 % intervals."""
    table: dict[str, Any] = {"scores": dict(results.scores), "warnings": list(results.warnings)}
    if results.shares:
        table["shares"] = {
            name: {"right": one.right, "count": one.count, "interval": list(one.interval)}
            for name, one in results.shares.items()
        }
    return table


def as_markdown(protocol: Protocol, about: Mapping[str, Any], results: Results, plot: str | None = None) -> str:
    """Return the report as a page."""
    lines = [
        f"# Evaluation by the protocol {protocol.name}",
        "",
        *(f"- {name}: {value}" for name, value in about.items()),
        "",
    ]
    lines += ["| score | value | better | published |", "|---|---|---|---|"]
    for name, value in results.scores.items():
        meaning, more = MEANING.get(name, (name, None))
        better = "" if more is None else "higher" if more else "lower"
        published = protocol.published.get(name)
        found = f"{value:.6g}"
        if name in results.shares:
            one = results.shares[name]
            low, high = one.interval
            found = f"{value:.1%} ({one.right} of {one.count}; 95 %: {low:.1%} to {high:.1%})"
        lines.append(f"| {meaning} (`{name}`) | {found} | {better} | {'' if published is None else f'{published:g}'} |")
    if plot:
        lines += ["", f"![bits a token by timestep]({plot})"]
    if results.warnings:
        lines += ["", "Left out or to be doubted:", "", *(f"- {warning}" for warning in results.warnings)]
    lines += ["", "The protocol:", "", "| field | value |", "|---|---|"]
    fields = to_table(protocol)
    fields = {name: value for name, value in fields.items() if name not in ("notes", "published", "name", "sampling")}
    lines += [f"| {name} | {value} |" for name, value in (fields | protocol.sampling.to_dict()).items()]
    lines += ["", protocol.notes] if protocol.notes else []
    return "\n".join(lines) + "\n"


def write_sweep(
    out: Path, title: str, names: Sequence[str], points: Sequence[tuple[Mapping[str, Any], Mapping[str, float]]]
) -> None:
    """One table and, for each score that all runs have, one plot: sweep.json, sweep.md, SCORE.svg.

    names: the settings that vary; points: (settings, scores) of every run.  A plot is a line over the first setting if
    that is a different number in every run, else a named dot a run, in the table's order.
    """
    _write(
        out / "sweep.json", json.dumps([{"settings": dict(s), "scores": dict(r)} for s, r in points], indent=2) + "\n"
    )
    columns = list(dict.fromkeys(name for _, scores in points for name in scores))
    lines = [f"# {title}", "", "| " + " | ".join([*names, *columns]) + " |", "|" + "---|" * (len(names) + len(columns))]
    for settings, scores in points:
        cells = [str(settings.get(name, "")) for name in names] + [
            f"{scores[c]:.6g}" if c in scores else "" for c in columns
        ]
        lines.append("| " + " | ".join(cells) + " |")
    values = [settings.get(names[0]) for settings, _ in points]
    x = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    is_line = len(set(x)) == len(points)
    for column in (c for c in columns if len(points) > 1 and all(c in scores for _, scores in points)):
        y = [scores[column] for _, scores in points]
        if is_line:
            plot, over = line_plot(title, names[0], column, x, {column: y}), names[0]
        else:
            labels = [
                ", ".join(str(settings[name]) for name in names if settings.get(name) is not None)
                for settings, _ in points
            ]
            dots = {f"{row}: {label}": (row, value) for row, (label, value) in enumerate(zip(labels, y), 1)}
            plot, over = point_plot(title, "row of the table", column, dots), "rows"
        _write(out / f"{column}.svg", plot)
        lines += ["", f"![{column} over {over}]({column}.svg)"]
    _write(out / "sweep.md", "\n".join(lines) + "\n")


def _write(path: Path, text: str) -> None:
    with write_whole(path) as place:
        place.write_text(text, encoding="utf-8")
