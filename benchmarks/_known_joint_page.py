"""The page of ``known_joint``: the claims with their margins, the tables and plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from vqdiffusion_jax.evaluation.svg import line_plot

from ._known_joint_figures import METRICS, RESAMPLES, difference, figures, told, with_intervals
from ._known_joint_process import LOG_MISFIT, Process
from ._known_joint_rows import CLAIMS, SCALES, STEPS, UNDER_USED, Claim, Row

Found = Mapping[Row, Mapping[str, np.ndarray]]
_WITH = {False: "exact marginals", True: "networks"}


def page(process: Process, rows: Sequence[Row], found: Found, steps: int) -> dict[str, str]:
    """Return the text of known_joint.md and of its plots, by file name."""
    plots = _plots(process, found)
    entropy = float(-(process.weights * np.log(process.weights)).sum())
    text = _TEXT.format(
        grid=f"{int(process.length**0.5)} x {int(process.length**0.5)}",
        codes=process.num_codes,
        shapes=len(process.masks),
        drawings=len(process.weights),
        weights=", ".join(f"{weight:g}" for weight in process.weights),
        colours=len(process.colours),
        told=", ".join(f"{100 * share:.0f} %" for share in process.told),
        misfit=f"{np.exp(LOG_MISFIT):.0e}",
        pictures=max((len(one["outcome"]) for one in found.values()), default=0),
        resamples=RESAMPLES,
        used=f"{100 * UNDER_USED:.0f} %",
        entropy=f"{entropy:.2f}",
        texture=f"{-process.texture_entropy:.2f}",
        steps=steps,
        claims="\n".join(_claims(process, found)),
        tables="\n".join(_tables(process, rows, found)),
        plots="\n".join(f"![{name.removesuffix('.svg').replace('_', ' ')}]({name})\n" for name in plots),
    )
    return {"known_joint.md": text.rstrip("\n") + "\n", **plots}


def _claims(process: Process, found: Found) -> list[str]:
    lines = ["| claim | by | exact marginals | networks |", "|---|---|---|---|"]
    for claim in CLAIMS:
        cells = [_settled(process, found, claim, network) for network in (False, True)]
        lines.append(f"| {claim.text} | {METRICS[claim.metric]} | {' | '.join(cells)} |")
    return lines


def _settled(process: Process, found: Found, claim: Claim, network: bool) -> str:
    """Return whether a claim holds, with its margin; "" where it is not asked and "not run" without its rows."""
    if claim.networks_only and not network:
        return ""
    here = {row.name: one for row, one in found.items() if row.table == claim.table and row.network == network}
    if claim.better not in here or claim.worse not in here:
        return "not run"
    one, other = here[claim.better], here[claim.worse]
    value, low, high = difference(process, one, other, claim.metric)
    verdict = "holds" if low > 0 else "the reverse holds" if high < 0 else "not settled"
    text = f"**{verdict}**: {told(claim.metric, (value, low, high))}"
    if network:
        parts = np.array_split(np.arange(len(one["outcome"])), 3)
        signs = [difference_of(process, one, other, claim.metric, part) > 0 for part in parts]
        text += f"; in {sum(signs)} of 3 networks"
    return text


def difference_of(process: Process, one: Mapping, other: Mapping, metric: str, part: np.ndarray) -> float:
    """Return by how much ``one`` is better among some pictures."""
    parts = [{key: values[part] for key, values in row.items()} for row in (one, other)]
    return difference(process, parts[0], parts[1], metric)[0]


def _tables(process: Process, rows: Sequence[Row], found: Found) -> list[str]:
    lines = []
    for network in (False, True):
        lines += [f"## Rows: {_WITH[network]}", ""]
        for table in dict.fromkeys(row.table for row in rows if row.network == network):
            here = [row for row in rows if row.table == table and row.network == network]
            lines += [f"### {table[0].upper() + table[1:]}", ""]
            if not any(row in found for row in here):
                lines += ["Not run yet.", ""]
                continue
            lines += [f"| row | {' | '.join(METRICS.values())} |"]
            lines += ["|---" * (len(METRICS) + 1) + "|"]
            for row in here:
                if row not in found:
                    lines.append(f"| {row.name} | not run {'|' * len(METRICS)}")
                    continue
                all_figures = with_intervals(process, found[row])
                cells = [told(name, all_figures[name]) for name in METRICS]
                lines.append(f"| {row.name} | {' | '.join(cells)} |")
            lines.append("")
    return lines


def _plots(process: Process, found: Found) -> dict[str, str]:
    """Return plots over guidance scale and steps, of the lines whose rows are all there."""

    def of(table: str, names: Sequence[str], network: bool, metric: str) -> list[float] | None:
        here = {row.name: one for row, one in found.items() if row.table == table and row.network == network}
        if not all(name in here for name in names):
            return None
        return [float(figures(process, here[name])[metric][0]) for name in names]

    plots = {}
    for metric, label in (("right", "as asked"), ("distance", "distance to the truth")):
        lines = {}
        for network in (False, True):
            cut = [f"scale {scale:g}, cut" if scale != 1.0 else "scale 1" for scale in SCALES]
            lines[_WITH[network]] = of("guidance", [f"scale {scale:g}" for scale in SCALES], network, metric)
            lines[f"{_WITH[network]}, with the cut"] = of("guidance", cut, network, metric)
        kept = {name: line for name, line in lines.items() if line}
        if kept:
            title = f"Guidance where captions are under-used: {label}"
            plots[f"known_joint_guidance_{metric}.svg"] = line_plot(title, "guidance scale", label, SCALES, kept)
    lines = {_WITH[one]: of("steps", [f"{steps} steps" for steps in STEPS], one, "whole") for one in (False, True)}
    if kept := {name: line for name, line in lines.items() if line}:
        plots["known_joint_steps.svg"] = line_plot("Steps", "steps", "whole drawings", STEPS, kept)
    return plots


_TEXT = """# The claims, on a process that is known exactly

Made by `python -m benchmarks.known_joint`. A picture has {grid} tokens of {codes} codes. It shows one of {shapes}
shapes in one of {colours} colours. A shape has {drawings} drawings with the shares {weights}: the cells that are
coloured, the others being background. A Markov chain along the rows gives every cell one of eight textures. A caption
tells shape and colour ({told} both, the shape alone, the colour alone). So every probability is known, and no judge
is asked.

*Exact marginals*: p(x_0 of a token given x_t and y) is computed, with all drawings and forward-backward over the
texture, and given to the package's own guidance, truncation and strategies. Only the sampler can be wrong. A token
that fits no drawing as it stands costs a factor of {misfit}, as if it had been replaced.
*Networks*: small ones, of seeds 0 to 2 and {steps} training steps each; a third of the pictures
each. They stand for a network with errors, not for a
good one. "Not run" stands where no network has drawn a row yet.
The noise masks alone (the schedule `linear`), so that a
token once drawn stays.

Every row has {pictures} pictures. All have the same captions and noise, network by network. Intervals are of 95 %, by
bootstrap over pictures, {resamples} times; a claim's margin is of the paired difference, positive where the claim
holds. How networks differ is told by how many of the three agree.

- *whole*: the cells are those of one drawing. *As asked*: and its shape and colour are those of the caption.
- *p(y given x)*: how probable it is that what the caption tells is true of the picture; a mixture of drawings is
  shared among them.
- *distance, all*: total variation between the shares of the drawings of a shape, of broken pictures and of those not
  asked for, and the truth, which has none of the last two.
- *distance*, *KL (truth to drawn)* and *entropy* of drawings: of the pictures as asked alone. The truth's entropy is
  {entropy} nats.
- *ln p(texture)*: the truth's mean is {texture} nats a picture; more than that is too regular.
- *ln p(x given y)*: of the pictures as asked.

Under *guidance* and *null condition* captions are under-used: {used} of them belong to their picture and any other is
another picture's, in training or in the marginals. What is asked for is still the caption. The *cut* is
`guidance_plausibility` of 0.01.

## Claims

{claims}

{plots}
{tables}"""
