"""A word at the start of a run whose data set has fewer pictures than its settings take."""

from __future__ import annotations

from .config import RunConfig


def few_pictures(config: RunConfig, training: int, validation: int | None, shown: int | None) -> list[str]:
    """Return a line for each setting that asks for more pictures than there are, with both numbers and what happens.

    training, validation: pictures of each split, None for no validation.  shown: pictures of the data set in the sample
    pictures, None if these are not of the data set.
    """
    lines, held_out = [], "" if config.data.get("cache") else ", see data.validation_fraction"
    if training < config.batch_size:
        lines.append(
            f"few pictures: batch_size is {config.batch_size}, but {training} are for training; a batch repeats some"
        )
    if validation is not None and validation < config.batch_size:
        lines.append(
            f"few pictures: batch_size is {config.batch_size}, but {validation} are for validation{held_out}; it is"
            " measured on those"
        )
    if shown is not None and shown < config.watch.num_samples:
        lines.append(
            f"few pictures: watch.num_samples is {config.watch.num_samples}, but there are {shown}; those are shown"
        )
    return lines
