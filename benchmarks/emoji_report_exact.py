"""Names alone, judged by exact tokens: how many pictures are a drawing of the thing, setting by setting, paired."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from vqdiffusion_jax import VQDiffusionPipeline
from vqdiffusion_jax.data.scenes import Drawings
from vqdiffusion_jax.evaluation.following import share
from vqdiffusion_jax.evaluation.identity import fingerprint

from .emoji_truth import Grids, question

CHUNK = 48  # pictures drawn together: three of each name
MOST_WRONG = 2  # of 64 tokens, in a picture that counts as right
# The first is what every other is compared with.
ROWS: dict[str, dict[str, Any]] = {
    "as the model comes": {},
    "the exact posterior, 20 steps, no truncation": {
        "strategy": "posterior",
        "num_inference_steps": 20,
        "guidance_scale": 1.0,
        "truncation_rate": 1.0,
    },
}


def names(
    pipeline: VQDiffusionPipeline, drawings: Drawings, work: Path, count: int, tell: Callable[..., Any] = print
) -> list[dict[str, Any]]:
    """Return the rows: wrong tokens of every picture of a name alone, and shares and pairs made of them.

    Equal numbers have equal names and noise in every row.  Chunks are kept in ``work`` as they are drawn.
    """
    grids, found = Grids(pipeline, drawings), {}
    for name, settings in ROWS.items():
        file = work / f"names {fingerprint(pipeline.model)} {name}.json"
        told = {"settings": settings, "chunk": CHUNK}
        kept = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        wrong = kept["wrong"] if kept.get("told") == told else []
        while len(wrong) < count:
            wrong += _drawn(pipeline, grids, drawings, settings, len(wrong))
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps({"told": told, "wrong": wrong}), encoding="utf-8")
            tell(f"names, {name}: {len(wrong)} of {count}")
        found[name] = np.array(wrong[:count])
    first = next(iter(found.values())) <= MOST_WRONG
    return [{"name": name} | _row(wrong, first) for name, wrong in found.items()]


def _drawn(pipeline, grids: Grids, drawings: Drawings, settings: dict, first: int) -> list[int]:
    numbers = range(first, first + CHUNK)
    asked = [question("names", number, drawings) for number in numbers]
    prompts = [one.prompt for one in asked]
    output = pipeline(prompts, seed=list(numbers), batch_size=CHUNK, output_type="tokens", progress=False, **settings)
    return [grids.nearest(one, tokens)[0] for one, tokens in zip(asked, output.tokens, strict=True)]


def _row(wrong: np.ndarray, first: np.ndarray) -> dict[str, Any]:
    right = wrong <= MOST_WRONG
    counted = share(right.astype(float))
    assert counted is not None
    rng = np.random.default_rng(0)
    means = rng.choice(wrong, (2000, len(wrong))).mean(axis=1)
    only_here, only_first = int((right & ~first).sum()), int((first & ~right).sum())
    return {
        "right": counted.right,
        "count": counted.count,
        "interval": list(counted.interval),
        "wrong": [float(wrong.mean()), *np.quantile(means, (0.025, 0.975)).tolist()],
        "only_here": only_here,
        "only_first": only_first,
        "p": mcnemar(only_here, only_first),
        "worst": np.argsort(-wrong, kind="stable")[:18].tolist(),
        "worst_wrong": np.sort(wrong)[::-1][:18].tolist(),
    }


def mcnemar(one: int, other: int) -> float:
    """Return the two-sided p of McNemar's exact test for ``one`` and ``other`` pairs that differ: binomial, a half."""
    count, least = one + other, min(one, other)
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, count + 1)))])
    ways = [logs[count] - logs[k] - logs[count - k] - count * np.log(2.0) for k in range(least + 1)]
    return min(1.0, float(2.0 * np.exp(ways).sum()))
