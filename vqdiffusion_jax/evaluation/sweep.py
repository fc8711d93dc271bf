"""Sweeps: runs of one protocol with settings changed, as typed or as in the improved paper's tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..config import ModelConfig
from ..errors import EvaluationSettingError
from .protocol import Protocol, todays_name


@dataclass(frozen=True)
class Sweep:
    """Runs of one protocol.

    points: the fields that each run changes, as typed; every other field keeps the protocol's value.
    """

    title: str
    points: tuple[Mapping[str, str], ...]

    @property
    def names(self) -> list[str]:
        """The fields that vary, in the order they first appear."""
        return list(dict.fromkeys(name for point in self.points for name in point))


def _over(title: str, *points: Mapping[str, str]) -> Sweep:
    return Sweep(title, points)


# "Improved Vector Quantized Diffusion Models" (Tang et al. 2022).  A row trained differently (table 1's null text,
# table 2's number of training steps) is another checkpoint: run the sweep once for each and compare the tables.
SWEEPS = {
    "table1": _over(
        "Table 1: null conditions of guidance",
        {"null": "auto", "guidance_scale": "1"},
        {"null": "text", "guidance_scale": "3"},
        {"null": "learnable", "guidance_scale": "3"},
    ),
    "table2": _over(
        "Table 2: inference steps", *({"num_inference_steps": calls} for calls in ("10", "25", "50", "100"))
    ),
    "table3": _over(
        "Table 3: purity prior",
        {"strategy": "posterior"},
        {"strategy": "fewer_tokens"},
        {"strategy": "purity", "purity_weight": "0"},
        {"strategy": "purity", "purity_weight": "1"},
    ),
    "table4": _over(
        "Table 4: both improvements",
        {"strategy": "posterior", "guidance_scale": "1"},
        {"strategy": "purity", "guidance_scale": "1"},
        {"strategy": "posterior", "guidance_scale": "none"},
        {"strategy": "purity", "guidance_scale": "none"},
    ),
    "figure2": _over(
        "Figure 2: guidance scale against quality and diversity",
        *({"guidance_scale": scale} for scale in ("1", "1.5", "2", "3", "4", "5", "6", "8", "10")),
    ),
}


def parse_sweep(text: str) -> Sweep:
    """Return the sweep of ``guidance_scale:1,2,3,5`` or of a name in SWEEPS.

    Raises EvaluationSettingError for another text.
    """
    if text in SWEEPS:
        return SWEEPS[text]
    name, colon, values = text.partition(":")
    listed = [value.strip() for value in values.split(",") if value.strip()]
    if not colon or not name or not listed:
        raise EvaluationSettingError(
            "{sweep}={value} is neither field:value,value,... (guidance_scale:1,2,3,5) nor one of {known}",
            value=text,
            known=", ".join(SWEEPS),
        )
    name = todays_name(name)
    return Sweep(f"Sweep over {name}", tuple({name: value} for value in listed))


def what_lacks(protocol: Protocol, config: ModelConfig) -> str | None:
    """Return, to follow "this model", why it lacks the protocol's null condition; None if it has it."""
    if protocol.sampling.null == "learnable" and not config.denoiser.learnable_null:
        return "has no learnable null condition"
    if protocol.sampling.null == "text" and config.denoiser.condition != "text":
        return "reads no text, so that it has no empty prompt either"
    return None


def folder_name(point: Mapping[str, str]) -> str:
    """Return the folder of one run: ``guidance_scale=3,null=text``."""
    return ",".join(f"{name}={value}" for name, value in point.items())
