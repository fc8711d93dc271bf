"""``--mode=step_schedule``: the timesteps that a run of few steps should visit, by the bound of an evaluation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from absl import flags

from ..user_files import read_json
from .checkpoints import COMPANIONS, open_checkpoint

SHARED = ("checkpoint", *COMPANIONS, "num_inference_steps")
_MODE = "mode step_schedule"

flags.DEFINE_string(
    "report", None, "step_schedule: the report.json of --mode=eval --what=likelihood.", module_name=_MODE
)

FLAGS = flags.FLAGS


def main() -> None:
    from ..diffusion.schedule import make_schedule
    from ..sampling import Ancestral, best_timesteps, bound_of

    for flag, what in (
        ("report", "the report.json of --mode=eval --what=likelihood"),
        ("num_inference_steps", "how many timesteps to visit"),
    ):
        if FLAGS[flag].value is None:
            raise ValueError(f"--{flag} is needed: {what}")
    config = open_checkpoint().config
    schedule = make_schedule(config.schedule)
    prior, terms = _read_bound(Path(FLAGS.report))
    steps = FLAGS.num_inference_steps
    best = best_timesteps(terms, schedule, steps)
    even = Ancestral(num_inference_steps=steps).plan(schedule, config.denoiser.num_tokens).timestep
    every = range(schedule.num_timesteps - 1, -1, -1)
    best_bits, even_bits, every_bits = (prior + bound_of(run, terms, schedule) for run in (best, even, every))
    print(f"--timesteps={','.join(map(str, best))}")
    print(
        f"bound {best_bits:.4f} bits a token; {even_bits:.4f} for as many evenly spaced, "
        f"{every_bits:.4f} for every timestep"
    )


def _read_bound(report: Path) -> tuple[float, np.ndarray]:
    """Return the prior and the bound's terms (T,), in bits a token.

    Raises ValueError, one line, for a file without them.
    """
    try:
        likelihood = read_json(report)["likelihood"]
        return float(likelihood["prior"]), np.array([float(term) for term in likelihood["by_timestep"]])
    except OSError as error:
        raise ValueError(
            f"--report={report} cannot be read: {error.strerror}; give the report.json of --mode=eval"
        ) from error
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise ValueError(
            f"--report={report} holds no bound by timestep; give the report.json of --mode=eval --what=likelihood"
        ) from error
