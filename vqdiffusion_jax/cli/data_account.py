"""The account of a data set that a mode prints when it has opened one."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..data.records import Source


def tell(source: Source, where: str, split: str) -> None:
    """Print on stderr, in the first process, what a split holds and leaves out.

    where: the data set in words, for instance "folder at my_pictures".
    """
    import jax

    from ..data.summary import summary

    if jax.process_index() == 0:
        print("\n".join(summary(source, where, split)), file=sys.stderr, flush=True)
