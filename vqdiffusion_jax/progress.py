"""Bars of what goes on, on a terminal or in a notebook and nowhere else."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax

UPDATES = 20  # of the bar a batch, at most about; each stops the device for a moment
_COLUMNS = 80  # of a terminal that does not tell


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


def watched(items: Iterable[Any] | None = None, *, wanted: bool = True, **options: Any) -> Any:
    """Return tqdm's bar over items, or one without, with tqdm's options; it is shown if wanted and somebody sees it.

    A pipe or a file of a log gets none.
    """
    return _bar(items, disable=not (wanted and is_watched()), **options)


def _bar(items: Iterable[Any] | None = None, **options: Any) -> Any:
    if in_notebook() and importlib.util.find_spec("ipywidgets") is not None:
        from tqdm.notebook import tqdm

        return tqdm(items, **options)
    from tqdm import tqdm

    return tqdm(items, **_width() | options)


def _width() -> dict[str, Any]:
    """Return tqdm's option for a terminal that does not tell its width, where tqdm would show nothing."""
    with contextlib.suppress(AttributeError, OSError, ValueError):
        if os.get_terminal_size(sys.stderr.fileno()).columns == 0:
            return {"ncols": _COLUMNS}
    return {}


@contextlib.contextmanager
def progress_bar(calls: Sequence[int], **options: Any) -> Iterator[Callable[..., None]]:
    """Show a bar and yield the callback (see ``VQDiffusionPipeline.draw``) that moves it.

    calls: network calls of each batch, at most.  options: of tqdm.
    """
    shown: dict[str, Any] = {"unit": "step", "desc": "denoising", "delay": 0.2} | options
    with _bar(total=sum(calls), **shown) as bar:
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
