"""What every command does alike."""

from __future__ import annotations

import sys
from collections.abc import Callable


def report_mistakes(main: Callable[[], None]) -> None:
    """Run ``main``; an expected mistake becomes ``error: ...`` on stderr and exit status 1."""
    try:
        main()
    except (ValueError, OSError) as error:  # ConfigError, CheckpointError, ConversionError are ValueErrors
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
