"""What the page says of each strategy, and its settings for the number of network calls that a visitor wants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..config import DenoiserConfig

# (network calls wanted, denoiser) -> settings of ``sampling.STRATEGIES``, which are flags of the command line too
Settings = Callable[[int, DenoiserConfig], dict[str, int]]


@dataclass(frozen=True)
class Choice:
    """A strategy as the page offers it.

    usual_share: of the calls in its plan that a picture usually takes, where it may end before the plan does.
    """

    explanation: str
    settings: Settings
    usual_share: float = 1.0


def _none(calls: int, denoiser: DenoiserConfig) -> dict[str, int]:
    return {}


def _steps(calls: int, denoiser: DenoiserConfig) -> dict[str, int]:
    return {"steps": calls}


def _steps_up_to_tokens(calls: int, denoiser: DenoiserConfig) -> dict[str, int]:
    return {"steps": min(calls, denoiser.num_tokens)}


def _skip_step(calls: int, denoiser: DenoiserConfig) -> dict[str, int]:
    return {"skip_step": max(1, round(denoiser.num_timesteps / calls) - 1)}


def _tokens_per_step(calls: int, denoiser: DenoiserConfig) -> dict[str, int]:
    return {"tokens_per_step": -(-denoiser.num_tokens // max(1, calls - 1))}  # the call at t = 0 reveals none


# By the names of ``sampling.STRATEGIES``.
CHOICES = {
    "posterior": Choice("the exact posterior: any number of steps", _steps),
    "fast": Choice(
        "the released code's shortcut: skips timesteps, but reveals fewer tokens than it should", _skip_step
    ),
    "fewer_tokens": Choice("reveals a set number of tokens a step, anywhere", _tokens_per_step),
    "purity": Choice("reveals a set number of tokens a step, the surest first", _tokens_per_step),
    "maskgit": Choice("draws every masked token and keeps the surest: good in few steps", _steps_up_to_tokens),
    "entropy_bound": Choice(
        "reveals as many tokens a step as are certain together; takes the steps it needs", _none, usual_share=0.25
    ),
    "remask": Choice("the posterior, but masks some tokens again so that they can be mended", _steps),
}
