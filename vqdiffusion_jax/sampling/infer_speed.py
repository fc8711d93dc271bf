"""The released inference script's ``infer_speed`` as a strategy."""

from __future__ import annotations

from .ancestral import Ancestral, ReferenceFast
from .fewer_tokens import FewerTokens, PurityPrior
from .reveal import REFERENCE_TOKENS
from .strategy import Strategy


def strategy_from_infer_speed(
    infer_speed: float | bool,
    prior_rule: int = 0,
    prior_weight: float = 0.0,
    *,
    num_timesteps: int = 100,
    num_tokens: int = REFERENCE_TOKENS,
) -> Strategy:
    """Return the strategy that ``infer_speed`` and ``prior_rule`` select in the released inference script.

    infer_speed: False, 0 or in [1, 2) calls every timestep.  Below 1, a call reveals at most
    int(tokens // timesteps * speed) tokens, in several calls a timestep, and prior_rule 0 becomes 1.  From 2 on it is
    ReferenceFast(int(infer_speed - 1)), without a prior.
    prior_rule: 0 posterior, 1 FewerTokens, 2 PurityPrior(prior_weight).
    Raises ValueError for a speed too small to reveal a token a call, where the released code never ends, and for an
    unknown prior_rule.
    """
    if prior_rule not in (0, 1, 2):
        raise ValueError(f"prior_rule is {prior_rule!r}; allowed: 0 (posterior), 1 (fewer tokens), 2 (purity)")
    speed = float(infer_speed)
    if not 0.0 <= speed < float("inf"):
        raise ValueError(f"infer_speed is {infer_speed!r}; it must be False or a finite number of at least 0")
    if speed >= 2.0:
        return ReferenceFast(int(speed - 1))
    tokens_per_call = None
    if 0.0 < speed < 1.0:
        tokens_per_call = int(num_tokens // num_timesteps * speed)
        if tokens_per_call < 1:
            least = 1.0 / max(num_tokens // num_timesteps, 1)
            told = f"use {least:g} or more, or False for every timestep"
            raise ValueError(f"infer_speed is {infer_speed}, which reveals no token a call; {told}")
        prior_rule = prior_rule or 1
    if prior_rule == 0:
        return Ancestral()
    if prior_rule == 1:
        return FewerTokens(tokens_per_call=tokens_per_call)
    return PurityPrior(prior_weight, tokens_per_call=tokens_per_call)
