"""The step rule of a protocol."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from ..errors import EvaluationError
from ..sampling import STRATEGIES, Strategy

if TYPE_CHECKING:
    from .protocol import Protocol


def strategy_of(protocol: Protocol) -> Strategy:
    """The strategy of a protocol, with ``strategy_options`` as its other arguments.

    Raises EvaluationError for steps or options that it does not take; what its class raises for values that cannot be.
    """
    name, options = protocol.strategy, protocol.strategy_options
    chosen = STRATEGIES[name]
    if protocol.steps is not None and "steps" not in chosen.settings:
        takers = ", ".join(other for other, named in STRATEGIES.items() if "steps" in named.settings)
        raise EvaluationError(
            f"steps={protocol.steps} goes with the strategies {takers}; {name} takes none: set steps to none"
        )
    known = [field.name for field in dataclasses.fields(chosen.cls)]
    if unknown := sorted(set(options) - set(known)):
        raise EvaluationError(f"strategy_options has {', '.join(unknown)}; {name} takes {', '.join(known)}")
    given = {argument: getattr(protocol, setting, None) for setting, argument in chosen.settings.items()}
    return chosen.cls(**{argument: value for argument, value in given.items() if value is not None} | dict(options))
