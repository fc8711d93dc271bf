"""The step rule of a protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import EvaluationError
from ..sampling import STRATEGIES, Strategy
from ..sampling.fields import settings_of
from ..sampling.settings import strategy_of as strategy_of_settings
from ..sampling.settings import takers

if TYPE_CHECKING:
    from .protocol import Protocol


def strategy_of(protocol: Protocol) -> Strategy:
    """The strategy of a protocol, with ``strategy_options`` as its other arguments.

    Raises EvaluationError for steps or options that it does not take; what its class raises for values that cannot be.
    """
    name, options = protocol.strategy, protocol.strategy_options
    known = settings_of(STRATEGIES[name])
    if protocol.steps is not None and "num_inference_steps" not in known:
        told = ", ".join(takers("num_inference_steps"))
        raise EvaluationError(
            f"steps={protocol.steps} goes with the strategies {told}; {name} takes none: set steps to none"
        )
    if unknown := sorted(set(options) - set(known)):
        raise EvaluationError(f"strategy_options has {', '.join(unknown)}; {name} takes {', '.join(known)}")
    given = {
        "num_inference_steps": protocol.steps,
        "skip_step": protocol.skip_step,
        "tokens_per_call": protocol.tokens_per_step,
        "purity_weight": protocol.purity_weight,
    }
    own = {field: value for field, value in given.items() if field in known and value is not None}
    return strategy_of_settings(name, own | dict(options))
