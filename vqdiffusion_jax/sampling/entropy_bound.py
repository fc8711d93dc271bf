"""Entropy-bounded unmasking.

Ben-Hamu et al. 2025, "Accelerated Sampling from Masked Diffusion Models via Entropy Bounded Unmasking".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from ..array_types import LogProbs, TokenFloats, Tokens
from ..diffusion.schedule import Schedule
from ..diffusion.transitions import log_softmax
from .fields import check_fields, setting
from .noise import Noise
from .reveal import draw_codes, nearest_timestep
from .strategy import Plan


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class EntropyBound:
    """Reveal as many tokens a call as their entropies allow, the least uncertain first, until the picture is whole.

    Tokens revealed together are drawn as if they were independent.  The cost of that, the sum of their entropies less
    their joint entropy, is at most that sum less its largest term.  A call reveals tokens as long as this bound stays
    within ``entropy_bound``, and at least one; a revealed token is never drawn again.  The network is told, picture by
    picture, the timestep at which as many tokens are masked in training.

    entropy_bound: the paper's gamma in nats, at least 0, traced data; 0 reveals one token a call, infinity all of them.
    Raises SettingError if it is negative.
    """

    explanation: ClassVar[str] = "reveals as many tokens a call as are certain together; takes the calls it needs"
    usual_share: ClassVar[float] = 0.25

    entropy_bound: float | jax.Array = setting(
        1.0,
        static=False,
        type=float,
        least=0.0,
        most=float("inf"),
        help="Nats of entropy that a call may reveal together; 0 reveals one token a call, inf all of them.",
    )

    def __post_init__(self):
        check_fields(self)

    def plan(self, schedule: Schedule, num_tokens: int) -> Plan:
        """Return the longest possible run, of one token a call."""
        mask_share = schedule.cum_mask[:-1].astype(np.float32)
        t = nearest_timestep(mask_share, np.arange(num_tokens, 0, -1) / num_tokens).astype(np.int32)
        extra = {
            "mask_share": np.broadcast_to(mask_share, (num_tokens, len(mask_share))),
            "mask_token": np.full(num_tokens, schedule.num_codes, np.int32),
        }
        return Plan(timestep=t, jump=schedule.jumps(t, t - 1), reveal=np.zeros(num_tokens, np.int32), extra=extra)

    def noise_level(self, call: Plan, tokens: jax.Array) -> jax.Array:
        share = jnp.mean(tokens == call.extra["mask_token"], axis=-1)
        return jnp.where(share > 0.0, nearest_timestep(call.extra["mask_share"], share), -1)

    def step(self, call: Plan, log_x0: LogProbs, tokens: Tokens, noise: Noise, draw: jax.Array) -> Tokens:
        masked = tokens == log_x0.shape[-1]
        uncertainty = jnp.where(masked, entropy(log_x0), jnp.inf)
        by_entropy = jnp.argsort(uncertainty, axis=-1)
        ordered = jnp.take_along_axis(uncertainty, by_entropy, axis=-1)
        # In this order the largest of the first n is the nth, so their sum less the largest is the sum of those before.
        before = jnp.pad(jnp.cumsum(ordered, axis=-1)[:, :-1], ((0, 0), (1, 0)))
        allowed = jnp.take_along_axis(before <= self.entropy_bound, jnp.argsort(by_entropy, axis=-1), axis=-1)
        return jnp.where(masked & allowed, draw_codes(log_x0, noise, draw), tokens)


def entropy(log_x0: LogProbs) -> TokenFloats:
    """Return the entropy of each position's p(x_0) in nats, renormalised after truncation: (batch, length) float32.

    log_x0: (batch, length, num_codes) float32.
    """
    log_prob = log_softmax(log_x0)
    return jnp.maximum(-jnp.sum(jnp.exp(log_prob) * log_prob, axis=-1), 0.0)
