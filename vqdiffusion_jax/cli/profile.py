"""Flags of a trace of a few steps, and the profiler that they ask for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from ..errors import UsageError

if TYPE_CHECKING:
    from ..profiling import Profiler

_MODE = "profiling"
PROFILE = ("profile", "profile_first", "profile_count")

flags.DEFINE_string("profile", None, "Folder for a trace of a few training steps or batches.", module_name=_MODE)
flags.DEFINE_integer(
    "profile_first",
    None,
    "First step or batch of the trace, from 0. [1, as step 0 compiles; 0 if there is no other]",
    lower_bound=0,
    module_name=_MODE,
)
flags.DEFINE_integer("profile_count", 3, "Steps or batches of the trace.", lower_bound=1, module_name=_MODE)

FLAGS = flags.FLAGS


def profiler(steps: int, unit: str) -> Profiler | None:
    """Return the profiler that the flags ask for, or None.

    steps: how many steps or batches, as ``unit`` says, the run has.
    Raises UsageError for a first one that the run does not have, and a folder that cannot be made.
    """
    if FLAGS.profile is None:
        for name in PROFILE[1:]:
            if FLAGS[name].present:
                raise UsageError(f"--{name} is given without --profile; name a folder for the trace")
        return None
    from ..profiling import Profiler

    first = FLAGS.profile_first
    if first is not None and first >= steps:
        raise UsageError(f"--profile_first is {first}; the {unit} of this run are 0 to {steps - 1}")
    folder = Path(FLAGS.profile)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"--profile={folder} cannot be made: {error.strerror or error}; name another folder"
        ) from error
    first = min(1, max(steps - 1, 0)) if first is None else first
    return Profiler(folder, first=first, count=min(FLAGS.profile_count, steps - first))
