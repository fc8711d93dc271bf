"""The page's form without a browser: what it offers for a strategy, and what it draws."""

from __future__ import annotations

from typing import Any

from vqdiffusion_jax import VQDiffusionPipeline
from vqdiffusion_jax.demo.drawing import Frame, draw
from vqdiffusion_jax.demo.form import model_inputs, strategy_inputs
from vqdiffusion_jax.demo.job import Job, job_of
from vqdiffusion_jax.demo.limits import Limits
from vqdiffusion_jax.sampling.fields import Setting


def offered(pipeline: VQDiffusionPipeline, strategy: str, limits: Limits | None = None) -> dict[str, Setting]:
    """Return the inputs of the form when ``strategy`` is chosen, by field; those of the strategy come last."""
    limits = limits or Limits()
    inputs = model_inputs(pipeline.config, limits)
    assert strategy in inputs["strategy"].choices
    return inputs | strategy_inputs(strategy, limits)


def drawn(pipeline: VQDiffusionPipeline, **form: Any) -> tuple[Job, list[Frame]]:
    """Return the job of a form filled in with these fields, and all the frames of it that the page shows."""
    job, frames = job_of(form, pipeline, Limits(), {}), []
    assert draw(pipeline, job, frames.append)
    return job, frames
