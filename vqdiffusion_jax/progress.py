"""A bar of network calls, on a terminal or in a notebook and nowhere else."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import jax

UPDATES = 20  # of the bar a batch, at most about; each stops the device for a moment


def is_watched() -> bool:
    """Return whether somebody sees a bar: stderr is a terminal, or the program runs in a notebook."""
    try:
        return sys.stderr.isatty() or in_notebook()
    except (AttributeError, ValueError):  # no stderr, or a closed one
        return False


def in_notebook() -> bool:
    """Return whether the program runs in a kernel of Jupyter."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ in ("ZMQInteractiveShell", "Shell")  # the latter is Colab's


@contextmanager
def progress_bar(calls: Sequence[int], **options: Any) -> Iterator[Callable[..., None]]:
    """Show a bar and yield the callback (see ``VQDiffusionPipeline.draw``) that moves it.

    calls: network calls of each batch, at most.  options: of tqdm.
    """
    if in_notebook() and importlib.util.find_spec("ipywidgets") is not None:
        from tqdm.notebook import tqdm
    else:
        from tqdm import tqdm

    shown = {"unit": "step", "desc": "denoising", "delay": 0.2} | options
    with tqdm(total=sum(calls), **shown) as bar:
        batch, begun, last = 0, 0, 0

        def callback(done: int, timestep: int, tokens: jax.Array, *seen: Any) -> None:
            nonlocal batch, begun, last
            tokens.block_until_ready()
            if done <= last:  # a new batch
                begun += calls[batch]
                batch = min(batch + 1, len(calls) - 1)
            last = done
            bar.set_postfix(timestep=timestep, refresh=False)
            bar.update(begun + done - bar.n)

        yield callback
        bar.update(bar.total - bar.n)  # calls that an adaptive strategy did not need
