"""Several runs of one protocol with settings changed: a list typed on the command line, or the improved paper's tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..config import ModelConfig
from ..errors import EvaluationError
from .protocol import Protocol, todays_name


@dataclass(frozen=True)
class Sweep:
    """points: the protocol's fields that each run changes, as typed; all runs change the same or the rest keep the protocol's."""

    title: str
    points: tuple[Mapping[str, str], ...]

    @property
    def names(self) -> list[str]:
        """The fields that vary, in the order they first appear."""
        return list(dict.fromkeys(name for point in self.points for name in point))


def _over(title: str, *points: Mapping[str, str]) -> Sweep:
    return Sweep(title, points)


# "Improved Vector Quantized Diffusion Models" (Tang et al. 2022).  What a row trains differently (table 1's null text, table 2's
# number of training steps) is another checkpoint: run the sweep once for each and compare the tables.
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
    """``guidance_scale:1,2,3,5``, or the name of a ready sweep.  Raises EvaluationError, one line, for anything else."""
    if text in SWEEPS:
        return SWEEPS[text]
    name, colon, values = text.partition(":")
    listed = [value.strip() for value in values.split(",") if value.strip()]
    if not colon or not name or not listed:
        raise EvaluationError(
            f"--sweep={text} is neither field:value,value,... (guidance_scale:1,2,3,5) nor one of {', '.join(SWEEPS)}"
        )
    name = todays_name(name)
    return Sweep(f"Sweep over {name}", tuple({name: value} for value in listed))


def what_lacks(protocol: Protocol, config: ModelConfig) -> str | None:
    """Why a model cannot draw by a protocol whose null condition it lacks, to be put behind "this model"; None if it can."""
    if protocol.sampling.null == "learnable" and not config.denoiser.learnable_null:
        return "has no learnable null condition"
    if protocol.sampling.null == "text" and config.denoiser.condition != "text":
        return "reads no text, so that it has no empty prompt either"
    return None


def folder_name(point: Mapping[str, str]) -> str:
    """The folder of one run: ``guidance_scale=3,null=text``."""
    return ",".join(f"{name}={value}" for name, value in point.items())
