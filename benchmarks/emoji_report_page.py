"""The page that ``emoji_report`` writes: every number in it is one of its parts'."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vqdiffusion_jax.evaluation.svg import line_plot, point_plot

# What was asked for before anything was measured.
WANTED = {
    "concept_seen": 0.85,
    "concept_held_out": 0.7,
    "background_seen": 0.95,
    "background_held_out": 0.9,
    "relation_seen": 0.85,
    "relation_held_out": 0.7,
    "judge_concept": 0.9,
    "judge_background": 0.95,
    "judge_relation": 0.95,
}
WANTED_PSNR, WANTED_CODES = 26.0, 0.8
QUESTIONS = {
    "concept_seen": "everything named is there, seen combinations",
    "concept_held_out": "everything named is there, held-out combinations",
    "background_seen": "background right, seen combinations",
    "background_held_out": "background right, never shown with the concept",
    "relation_seen": "two drawings lie as asked, seen combinations",
    "relation_held_out": "two drawings lie as asked, relation never shown",
}
OF_THE_JUDGE = {
    "judge_concept": "everything named is there",
    "judge_background": "background",
    "judge_relation": "two drawings lie as said",
}
_HEADS = ["concepts right", "background right", "relation right", "precision", "recall", "FID", "s a picture"]

Parts = Mapping[str, Mapping[str, Any]]


def page(parts: Parts) -> dict[str, str]:
    """Return the text of emoji.md and of its plots, by file name below the results' folder."""
    files, lines = {}, ["# The emoji model, measured", ""]
    lines += [
        "Made by `python -m benchmarks.emoji_report` (its first lines say how); every number is in a JSON of "
        "[emoji](emoji), with the weights' fingerprint, the machine and its load. Shares are given with 95 % intervals "
        "(Wilson). Precision, recall and FID are of the judge's features, and compare with one another only; so do "
        "seconds, which include the judge's and leave out the first pictures, for which programs are compiled.",
    ]
    for name, write in _SECTIONS.items():
        if name in parts:
            more, plots = write(parts[name]["result"])
            lines += ["", *more, "", _made(parts[name])]
            files |= {f"emoji/{file}": text for file, text in plots.items()}
    return {"emoji.md": "\n".join(lines) + "\n", **files}


def _made(part: Mapping[str, Any]) -> str:
    on, of = part["measured"], part["of"]
    return (
        f"<sub>{on['date']}, {on['cores']} cores ({on['device']}), load {on['load']}, {on['seconds']:g} s; jax "
        f"{on['jax']}; model {of['model']}, judge {of['judge']}</sub>"
    )


def _about(found: Mapping[str, Any]) -> tuple[list[str], dict]:
    numbers = ", ".join(f"{name} {count:,}" for name, count in found["parameters"].items())
    return [
        f"Parameters: {numbers}; {found['grid'][0]} x {found['grid'][1]} tokens of {found['num_codes']} codes, "
        f"{found['num_timesteps']} timesteps, {found['concepts']} concepts; the judge knows {found['judge_concepts']}. "
        f"Guidance scale {found['guidance_scale']:g}, truncation {found['truncation_rate']:g} and "
        f"{found['inference_steps']} strided steps, unless a table says otherwise. What the model "
        "does by default is [measured apart](emoji_defaults.md).",
    ], {}


def _codec(found: Mapping[str, Any]) -> tuple[list[str], dict]:
    names = {
        "scenes": "composed scenes, half of them of held-out combinations",
        "photographs": "photographs of clothes, never trained on",
    }
    rows = [
        [
            names[name],
            f"{one['pictures']}",
            f"{one['psnr']:.2f}",
            f"{one['ssim']:.3f}",
            _percent(one["codes_used"]),
            f"{one['code_perplexity']:.0f}",
        ]
        for name, one in found.items()
    ]
    lines = ["## Codec", "", *_table(["pictures", "count", "PSNR, dB", "SSIM", "codes used", "perplexity"], rows), ""]
    scenes = found["scenes"]
    lines.append(
        f"Wanted on scenes: at least {WANTED_PSNR:g} dB ({_met(scenes['psnr'] >= WANTED_PSNR)}) and "
        f"{_percent(WANTED_CODES)} of the codes ({_met(scenes['codes_used'] >= WANTED_CODES)})."
    )
    return lines if "photographs" in found else [*lines, "Photographs: not run (`--photographs`)."], {}


def _following(found: Mapping[str, Any]) -> tuple[list[str], dict]:
    shares, scores, bits = found["shares"], found["scores"], found["likelihood"]

    def against_wanted(questions: Mapping[str, str]) -> list[list[str]]:
        asked = {name: what for name, what in questions.items() if name in shares}
        return [
            [what, _share(shares[name]), _percent(WANTED[name]), _met(scores[name] >= WANTED[name])]
            for name, what in asked.items()
        ]

    lines = [
        "## Following the text",
        "",
        f"{found['pictures']} pictures of the protocol `emoji` ({found['settings']['steps']} steps), each of a caption "
        "that tells all of a scene; half of the scenes hold a combination that training never shows. A judge, trained "
        "on real scenes, looks at them.",
        "",
        *_table(["question", "right", "wanted", ""], against_wanted(QUESTIONS)),
        "",
        "The judge itself, about the real pictures of the same scenes, which it was not trained on:",
        "",
        *_table(["question", "right", "wanted", ""], against_wanted(OF_THE_JUDGE)),
        "",
        "Its answers about styles are not good enough to be used here.",
        "",
        f"Precision {scores['judge_precision']:.3f}, recall {scores['judge_recall']:.3f}, FID "
        f"{scores['judge_fid']:.2f} against these real pictures; {found['seconds_a_picture']:.2f} s a picture.",
        f"Variational bound: {bits['bits_per_token']:.3f} bits a token (standard error {bits['standard_error']:.3f}, "
        f"{bits['pictures']} real pictures).",
    ]
    return lines, {}


def _null_conditions(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], dict]:
    return ["## Null conditions of guidance (improved paper, table 1)", "", *_scores("null condition", rows)], {}


def _guidance_scales(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], dict]:
    scales = [row["scale"] for row in rows]
    named = [{"name": f"{row['scale']:g}"} | row for row in rows]
    distances = [f"{row['distance']:.2f}" for row in rows]
    lines = [
        "## Guidance scale, quality and diversity (improved paper, figure 2)",
        "",
        *_scores("scale", named, {"distance": distances}),
    ]
    lines += [
        "",
        "Distance: between pictures of one prompt that is a name alone, in the judge's features.",
        "",
        "![quality](emoji/guidance_quality.svg) ![diversity](emoji/guidance_diversity.svg)",
    ]
    quality = {
        "concepts right": [_joint(row, "concept") for row in rows],
        "precision": [row["scores"]["judge_precision"] for row in rows],
    }
    diversity = {"recall": [row["scores"]["judge_recall"] for row in rows]}
    return lines, {
        "guidance_quality.svg": line_plot("Quality", "guidance scale", "share", scales, quality),
        "guidance_diversity.svg": line_plot("Diversity", "guidance scale", "recall", scales, diversity),
    }


def _inference_steps(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], dict]:
    steps = list(dict.fromkeys(one["settings"]["steps"] for row in rows for one in row["by_steps"]))
    cells = []
    for row in rows:
        by_steps = {one["settings"]["steps"]: one for one in row["by_steps"]}
        cells.append(
            [
                row["name"],
                f"{row['num_timesteps']}",
                *(_brief(by_steps[count]) if count in by_steps else "" for count in steps),
            ]
        )
    heads = ["model", "timesteps trained", *(f"{count} steps" for count in steps)]
    lines = [
        "## Inference steps and training (improved paper, table 2)",
        "",
        *_table(heads, cells),
        "",
        f"Concepts right and FID of {rows[0]['by_steps'][0]['pictures']} pictures each.",
    ]
    if len(rows) == 1:
        lines.append("Models trained otherwise: not run (`--training_checkpoints`).")
    return lines, {}


def _purity_prior(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], dict]:
    return ["## Purity prior (improved paper, table 3)", "", *_scores("prior", rows)], {}


def _strategies(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], dict]:
    calls = [f"{row['most_network_calls']}" for row in rows]
    points = {row["name"]: (row["seconds_a_picture"], _joint(row, "concept")) for row in rows}
    lines = [
        "## Strategies: accuracy against time",
        "",
        *_scores("strategy", rows, {"network calls at most": calls}),
        "",
        "![accuracy against time](emoji/strategies.svg)",
    ]
    return lines, {"strategies.svg": point_plot("Accuracy against time", "seconds a picture", "concepts right", points)}


def _variety(found: Mapping[str, Any]) -> tuple[list[str], dict]:
    seeds, prompts, unknown = (found[name] for name in ("seeds", "prompts", "unknown_words"))
    return [
        "## Seeds, prompts, no prompt, unknown words",
        "",
        f"- Seeds vary the picture: {seeds['different_pictures']} different ones among {seeds['pictures']} "
        f"({seeds['prompts']} names, {seeds['pictures_a_prompt']} seeds each). Mean distance of two pictures of one "
        f"name, in the judge's features: {seeds['distance']:.2f}; of the real drawings of one name, which differ in "
        f"style: {seeds['distance_of_real']:.2f}.",
        f"- Prompts change it: {prompts['pictures']} names from one seed gave {prompts['different_pictures']} "
        f"different pictures; mean distance {prompts['distance']:.2f}.",
        f"- Without a text (guidance scale 0, the null condition alone): {_untold(found['unconditional'])}",
        "- The empty prompt is a text that names no background, which in training means white: "
        f"{_untold(found['empty_prompt'])}",
        f"- Unknown words: {unknown['pictures']} prompts of words that training never shows, another script and a very "
        f"long text gave a picture each, {unknown['different_pictures']} different ones.",
    ], {}


def _sheets(found: Sequence[Mapping[str, str]]) -> tuple[list[str], dict]:
    lines = ["## Contact sheets", "", "Generated pictures, none of them chosen."]
    for one in found:
        lines += ["", f"{one['title']}:", "", f"![{one['title']}](emoji/{one['file']})"]
    return lines, {}


_SECTIONS = {
    "about": _about,
    "codec": _codec,
    "following": _following,
    "null_conditions": _null_conditions,
    "guidance_scales": _guidance_scales,
    "inference_steps": _inference_steps,
    "purity_prior": _purity_prior,
    "strategies": _strategies,
    "variety": _variety,
    "sheets": _sheets,
}


def _scores(head: str, rows: Sequence[Mapping[str, Any]], more: Mapping[str, Sequence[str]] | None = None) -> list[str]:
    """A table of measured rows, seen and held-out combinations together; a row without scores was not run."""
    more, cells = more or {}, []
    for number, row in enumerate(rows):
        extra = [values[number] for values in more.values()]
        if "scores" not in row:
            cells.append([row["name"], "not run", *[""] * (len(_HEADS) - 1), *extra])
            continue
        scores = row["scores"]
        cells.append(
            [
                row["name"],
                *(_percent(_joint(row, question)) for question in ("concept", "background", "relation")),
                f"{scores['judge_precision']:.3f}",
                f"{scores['judge_recall']:.3f}",
                f"{scores['judge_fid']:.1f}",
                f"{row['seconds_a_picture']:.2f}",
                *extra,
            ]
        )
    run = [row for row in rows if "scores" in row]
    doubts = dict.fromkeys(doubt for row in run for doubt in row["warnings"])
    return [
        f"{run[0]['pictures']} pictures a row, asked as above; shares are over seen and held-out combinations "
        "together.",
        "",
        *_table([head, *_HEADS, *more], cells),
        *(f"\nTo be doubted: {doubt}." for doubt in doubts),
    ]


def _brief(row: Mapping[str, Any]) -> str:
    return f"{_percent(_joint(row, 'concept'))}, {row['scores']['judge_fid']:.1f}"


def _joint(row: Mapping[str, Any], question: str) -> float:
    """Return the share of right pictures among seen and held-out combinations together."""
    both = [row["shares"][name] for name in (f"{question}_seen", f"{question}_held_out") if name in row["shares"]]
    return sum(one["right"] for one in both) / sum(one["count"] for one in both)


def _share(one: Mapping[str, Any]) -> str:
    low, high = one["interval"]
    share = _percent(one["right"] / one["count"])
    return f"{share} ({_percent(low)} to {_percent(high)}; {one['right']} of {one['count']})"


def _untold(found: Mapping[str, Any]) -> str:
    grounds = ", ".join(f"{name} {count}" for name, count in found["backgrounds"].items())
    return (
        f"{found['different_pictures']} different pictures among {found['pictures']}; the judge sees "
        f"{found['concepts']} concepts, the commonest ({found['commonest_concept']}) in "
        f"{found['commonest_concept_pictures']} of them. Backgrounds: {grounds}. Mean distance {found['distance']:.2f}."
    )


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %".replace(".0 %", " %")


def _met(met: bool) -> str:
    return "reached" if met else "not reached"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [
        "| " + " | ".join(heads) + " |",
        "|" + "---|" * len(heads),
        *("| " + " | ".join(row) + " |" for row in rows),
    ]
