"""The rows of ``known_joint``: what each draws with, and which pairs of rows settle a claim."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from vqdiffusion_jax.sampling import SamplingSettings
from vqdiffusion_jax.sampling.strategy import Strategy

from ._known_joint_draw import SharpenedTokens

SCALES = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
STEPS = (3, 5, 10, 25, 50, 100)
TIMESTEPS = (10, 25, 50, 100)
TOKENS_PER_CALL = (4, 2, 1)
WEIGHTS = (0.0, 0.5, 1.0, 2.0)
RATES = (0.5, 0.7, 0.86, 0.95)
UNDER_USED = 0.5  # share of the captions that belong to their picture
PLAUSIBILITY = 0.01
_CALLS = {"num_inference_steps": 15}


@dataclass(frozen=True)
class Row:
    """One row: settings, and the exact marginals or networks that they are drawn with.

    used: share of captions that belong to their picture, in the marginals or in training.
    trained_null: null condition that the networks were trained with, see ``_known_joint_train.NULLS``.
    """

    table: str
    name: str
    settings: dict[str, Any] = field(hash=False)
    network: bool = False
    timesteps: int = 100
    used: float = 1.0
    trained_null: str = "learned"

    @property
    def key(self) -> str:
        """A name for its file."""
        told = f"{'network' if self.network else 'exact'} {self.table} {self.name}"
        return "".join(letter if letter.isalnum() or letter == "." else "_" for letter in told)

    @property
    def sampling(self) -> SamplingSettings:
        """The settings as the package takes them; a strategy that is not the package's stands as an instance."""
        return SamplingSettings.of(**{"guidance_scale": 1.0, "truncation_rate": 1.0} | self.settings)

    def told(self) -> dict[str, Any]:
        """Return all that its pictures depend on, as plain JSON types."""
        settings = {
            name: repr(value) if isinstance(value, Strategy) else value for name, value in self.settings.items()
        }
        return {
            "settings": settings,
            "network": self.network,
            "timesteps": self.timesteps,
            "used": self.used,
            "trained_null": self.trained_null,
        }


def rows() -> list[Row]:
    """Return every row, those of the exact marginals first."""
    return [*_rows(False), *_rows(True)]


def _rows(network: bool) -> Iterator[Row]:
    for scale in SCALES:
        yield Row("guidance", f"scale {scale:g}", _CALLS | {"guidance_scale": scale}, network, used=UNDER_USED)
        if scale != 1.0:
            cut = {"guidance_scale": scale, "guidance_plausibility": PLAUSIBILITY}
            yield Row("guidance", f"scale {scale:g}, cut", _CALLS | cut, network, used=UNDER_USED)
    for scale in (1.0, 2.0, 4.0):
        yield Row("guidance, captions true", f"scale {scale:g}", _CALLS | {"guidance_scale": scale}, network)
    if network:
        guided = _CALLS | {"guidance_scale": 2.0}
        for null in ("learned", "empty text", "none"):
            told = {"learned": "learned", "empty text": "empty text, trained", "none": "empty text, untrained"}[null]
            yield Row("null condition", told, guided, True, trained_null=null, used=UNDER_USED)
    for steps in STEPS:
        yield Row("steps", f"{steps} steps", {"num_inference_steps": steps}, network)
    for per_call in TOKENS_PER_CALL:
        settings = {"strategy": "fewer_tokens", "tokens_per_call": per_call}
        for timesteps in TIMESTEPS if network else (100,):
            yield Row("fewer tokens", f"T = {timesteps}, {per_call} a call", settings, network, timesteps)
    for timesteps in TIMESTEPS if network else ():
        own = {"num_inference_steps": timesteps}
        yield Row("fewer tokens", f"T = {timesteps}, its own steps", own, network, timesteps)
    yield Row("purity", "neither", {"strategy": "fewer_tokens", "tokens_per_call": 4}, network)
    for weight in WEIGHTS:
        settings = {"strategy": "purity", "tokens_per_call": 4, "purity_weight": weight}
        yield Row("purity", f"order, sharpened by {weight:g}" if weight else "order alone", settings, network)
    for weight in WEIGHTS[1:]:
        alone = {"strategy": SharpenedTokens(tokens_per_call=4, weight=weight)}
        yield Row("purity", f"sharpened by {weight:g} alone", alone, network)
    for rate in RATES:
        yield Row("truncation", f"rate {rate:g}", _CALLS | {"truncation_rate": rate}, network)
    yield Row("truncation", "rate 1", _CALLS, network)


@dataclass(frozen=True)
class Claim:
    """A claim: the first row's figure is better than the second's."""

    text: str
    table: str
    better: str
    worse: str
    metric: str
    networks_only: bool = False


CLAIMS = (
    Claim(
        "Guidance helps where captions are under-used: scale 2 draws what is asked more often than 1.",
        "guidance", "scale 2", "scale 1", "right",
    ),
    Claim(
        "Guidance of 3 is better than 1 by the distance to the truth.",
        "guidance", "scale 3", "scale 1", "distance",
    ),
    Claim(
        "There is a maximum: scale 3 draws what is asked more often than 8.",
        "guidance", "scale 3", "scale 8", "right",
    ),
    Claim(
        "The plausibility cut saves a large scale: 8 with the cut is better than without.",
        "guidance", "scale 8, cut", "scale 8", "right",
    ),
    Claim(
        "Where captions are true, guidance costs variety: scale 1 is nearer to the truth than 4.",
        "guidance, captions true", "scale 1", "scale 4", "variety",
    ),
    Claim(
        "A learned null is better than an empty text that training never showed.",
        "null condition", "learned", "empty text, untrained", "right", True,
    ),
    Claim(
        "A learned null is better than a trained empty text.",
        "null condition", "learned", "empty text, trained", "right", True,
    ),
    Claim("100 steps are better than 10.", "steps", "100 steps", "10 steps", "whole"),
    Claim("100 steps are better than 25.", "steps", "100 steps", "25 steps", "whole"),
    Claim(
        "One token a call is better than four.",
        "fewer tokens", "T = 100, 1 a call", "T = 100, 4 a call", "whole",
    ),
    Claim(
        "More calls than trained steps help: T = 10 with one token a call is better than with its own 10 steps.",
        "fewer tokens", "T = 10, 1 a call", "T = 10, its own steps", "whole", True,
    ),
    Claim(
        "More calls than trained steps help: T = 25 with one token a call is better than with its own 25 steps.",
        "fewer tokens", "T = 25, 1 a call", "T = 25, its own steps", "whole", True,
    ),
    Claim(
        "The order of the purity prior alone helps, at equal calls.",
        "purity", "order alone", "neither", "whole",
    ),
    Claim(
        "Its sharpening alone helps, at equal calls.",
        "purity", "sharpened by 1 alone", "neither", "whole",
    ),
    Claim(
        "Both together are better than the order alone.",
        "purity", "order, sharpened by 1", "order alone", "whole",
    ),
    Claim(
        "Sharpening by 1 costs variety: the order alone has drawings nearer to the truth.",
        "purity", "order alone", "order, sharpened by 1", "variety",
    ),
    Claim("Truncation at 0.86 draws more whole pictures.", "truncation", "rate 0.86", "rate 1", "whole"),
    Claim(
        "Truncation at 0.86 costs variety: without it, drawings are nearer to the truth.",
        "truncation", "rate 1", "rate 0.86", "variety",
    ),
)  # fmt: skip
