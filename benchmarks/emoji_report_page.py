"""The page that ``emoji_report`` writes: every number in it is one of its parts'."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

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

Parts = Mapping[str, Mapping[str, Any]]


def page(parts: Parts) -> dict[str, str]:
    """Return the text of emoji16.md and of its plots, by file name below the results' folder."""
    files, lines = {}, ["# The model of sixteen things, measured", ""]
    lines += [
        "The embedded model `emoji16`. Made by `python -m benchmarks.emoji_report` (its first lines say how); every "
        "number is in a JSON of [emoji16](emoji16), with the weights' fingerprint, the machine and its load. Shares "
        "are given with 95 % intervals (Wilson). What null conditions, guidance, steps, strategies and truncation gain "
        "and cost is measured with exact tokens [for this model](emoji_defaults.md), and where the truth is known "
        "[exactly](known_joint.md).",
    ]
    for name, write in _SECTIONS.items():
        if name in parts:
            more, plots = write(parts[name]["result"])
            lines += ["", *more, "", _made(parts[name])]
            files |= {f"emoji16/{file}": text for file, text in plots.items()}
    return {"emoji16.md": "\n".join(lines) + "\n", **files}


def _made(part: Mapping[str, Any]) -> str:
    on, of = part["measured"], part["of"]
    return (
        f"<sub>{on['date']}, {on['cores']} cores ({on['device']}), load {on['load']}, {on['seconds']:g} s; jax "
        f"{on['jax']}; model {of['model']}" + (f", judge {of['judge']}" if "judge" in of else "") + "</sub>"
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
        f"Variational bound: {bits['bits_per_token']:.3f} bits a token (standard error {bits['standard_error']:.3f}, "
        f"{bits['pictures']} real pictures).",
    ]
    return lines, {}


def _names(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], dict]:
    cells = []
    for number, row in enumerate(rows):
        value, low, high = row["wrong"]
        paired = f"{row['only_here']} to {row['only_first']}, {_p(row['p'])}" if number else ""
        cells.append([row["name"], _share(row), f"{value:.2f} ({low:.2f} to {high:.2f})", paired])
    return [
        "## Names alone, by exact tokens",
        "",
        f"{rows[0]['count']} pictures a row, each name in turn, of equal noise in all rows. A picture's tokens are "
        "compared with those of the thing's drawings, large on white; training has seen most of them, so these are "
        "pictures that the model may know by heart. *Right*: at most two tokens of 64 differ from the nearest drawing. "
        "A drawing at another size or place counts as wrong, so that this is the least share of right things. "
        "No judge is asked. *Alone right*: pictures right here and wrong in the first row, to those the other way "
        "round, with the p of McNemar's exact test. Intervals of wrong tokens are by bootstrap.",
        "",
        *_table(["setting", "right", "wrong tokens", "alone right"], cells),
    ], {}


def _p(value: float) -> str:
    return f"p = {value:.2g}" if value >= 1e-6 else "p < 1e-6"


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


def _sheets_as_it_comes(found: Sequence[Mapping[str, str]]) -> tuple[list[str], dict]:
    return ["## Contact sheets, by the model's own settings", "", *_listed(found)], {}


def _sheets(found: Sequence[Mapping[str, str]]) -> tuple[list[str], dict]:
    return ["## Contact sheets, by the protocol and other strategies", "", *_listed(found)], {}


def _listed(found: Sequence[Mapping[str, str]]) -> list[str]:
    lines = ["Generated pictures, none of them chosen but the failures."]
    for one in found:
        lines += ["", f"{one['title']}:", "", f"![{one['title']}](emoji16/{one['file']})"]
    return lines


_SECTIONS = {
    "about": _about,
    "codec": _codec,
    "following": _following,
    "names": _names,
    "variety": _variety,
    "sheets_as_it_comes": _sheets_as_it_comes,
    "sheets": _sheets,
}


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
