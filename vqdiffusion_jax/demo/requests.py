"""What a visitor filled in, checked and turned into arguments of the pipeline's call, and into the JSON that draws it again."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from .. import __version__
from ..call import Call, settle
from ..config import ModelConfig
from ..generation import calls_a_piece
from ..pipeline import VQDiffusionPipeline
from ..sampling import Ancestral, SamplingSettings, first_timestep_of
from ..sampling.fields import settings_of
from ..sampling.registry import STRATEGIES
from .limits import Limits

SCRATCH, PICTURE, MASK = "scratch", "picture", "mask"  # what a run starts from
FILES = ("image", "mask_image")  # settings that name a picture


@dataclass(frozen=True, kw_only=True)
class Form:
    """What the page sends; nothing in it is trusted.

    steps: network calls a picture; strategies that count in tokens or in skipped timesteps come near it.
    start: "scratch"; "picture", noised as far as ``strength``; or "mask", painted anew where ``mask`` is set.
    picture: uint8 (size, size, 3), or None; mask: (size, size) bool, or None.
    """

    prompt: Any = ""
    class_label: Any = 0
    seed: Any = 0
    num_images: Any = 1
    strategy: Any = "posterior"
    steps: Any
    guidance_scale: Any
    truncation_rate: Any
    start: Any = SCRATCH
    strength: Any = 0.6
    picture: np.ndarray | None = None
    mask: np.ndarray | None = None


def default_form(config: ModelConfig) -> Form:
    """The form with the model's own settings."""
    defaults = config.sampling
    steps = config.denoiser.num_timesteps
    return Form(steps=steps, guidance_scale=defaults.guidance_scale, truncation_rate=defaults.truncation_rate)


@dataclass(frozen=True)
class Order:
    """What to draw.

    call: settled; count: pictures; together: pictures drawn at a time;
    calls: network calls of each, at most; every: how many of them go by between frames;
    recipe: settings under the names of the command line's flags.
    """

    call: Call
    count: int
    together: int
    calls: int
    every: int
    recipe: dict[str, Any]

    @property
    def given(self) -> dict[str, np.ndarray]:
        """The pictures that the order starts from, by the settings that name them."""
        settings = self.call.settings
        return {name: getattr(settings, name) for name in FILES if getattr(settings, name) is not None}

    @property
    def caption(self) -> str:
        """The order in a few words."""
        shows = self.recipe.get("prompt", self.recipe.get("class_labels"))
        return ", ".join(
            str(part) for part in (shows, f"seed {self.recipe['seed']}", self.recipe["strategy"]) if part is not None
        )

    def recipe_of(self, index: int) -> dict[str, Any]:
        """The JSON with which ``--again`` draws picture ``index``; a picture and a mask it starts from lie beside it."""
        return self.recipe | {"num_images_per_prompt": 1, "first_image": index, "version": __version__}


def read_form(form: Form, pipeline: VQDiffusionPipeline, limits: Limits, origin: dict[str, Any]) -> Order:
    """What a form asks for.  Raises ValueError, one line in the page's words, for what cannot be drawn or is too much.

    origin: where the pipeline came from, under the names of the command line's flags.
    """
    config = pipeline.config
    subject = _subject(form, config, limits)
    count = _whole("images", form.num_images, 1, limits.num_images)
    seed = _whole("seed", form.seed, 0, limits.seed)
    how = {
        "guidance_scale": _guidance_scale(form, config, limits),
        "truncation_rate": _number("truncation", form.truncation_rate, 0.01, 1.0),
    }
    given = _given(form)
    own = _strategy_fields(form, config, given.get("strength", 1.0))
    fields = subject | how | own | {"num_images_per_prompt": count, "seed": seed, "strategy": form.strategy}
    settings = SamplingSettings.of(**fields, **given, output_type="tokens")
    call = settle(config, pipeline.schedule, pipeline.tokenizer, settings)
    together = pipeline.pictures_together(count)
    files = {name: f"{name}.png" for name in FILES if name in given}
    recipe = origin | call.settings.changed(**files, batch_size=together).to_dict()
    calls = len(call.plan)
    usual_share = getattr(type(call.strategy), "usual_share", 1.0)
    every = calls_a_piece(calls, round(limits.frames / usual_share))
    return Order(call, count, together, calls, every, recipe)


def _subject(form: Form, config: ModelConfig, limits: Limits) -> dict[str, Any]:
    """The prompt, the class, or nothing, as the model takes it."""
    kind = config.denoiser.condition
    if kind == "class":
        return {
            "class_label": _whole(
                "class", form.class_label, 0, config.denoiser.num_classes - config.denoiser.learnable_null - 1
            )
        }
    if kind == "none":
        return {}
    prompt = " ".join(str(form.prompt or "").split())
    if not prompt:
        raise ValueError("prompt is empty; say what to draw")
    if len(prompt) > limits.prompt_length:
        raise ValueError(f"prompt has {len(prompt):,} characters; give at most {limits.prompt_length}")
    return {"prompt": prompt}


def _guidance_scale(form: Form, config: ModelConfig, limits: Limits) -> float:
    if config.denoiser.condition == "none":
        return 1.0
    return _number("guidance", form.guidance_scale, 0.0, limits.guidance_scale)


def _given(form: Form) -> dict[str, Any]:
    """What the run starts from, as arguments of the pipeline's call; empty from scratch."""
    if form.start == SCRATCH:
        return {}
    if form.start not in (PICTURE, MASK):
        raise ValueError(f"start is {form.start!r}; allowed: {SCRATCH}, {PICTURE}, {MASK}")
    if form.picture is None:
        raise ValueError("there is no picture to start from; upload one, or take one that was drawn")
    if form.start == PICTURE:
        return {"image": form.picture, "strength": _number("strength", form.strength, 0.01, 1.0)}
    if form.mask is None or not form.mask.any():
        raise ValueError("nothing is painted; brush over what is to be drawn anew, or extend the picture")
    return {"image": form.picture, "mask_image": form.mask}


def _strategy_fields(form: Form, config: ModelConfig, strength: float) -> dict[str, Any]:
    """Return the strategy's own settings for the number of calls wanted."""
    if form.strategy not in STRATEGIES:
        raise ValueError(f"strategy is {form.strategy!r}; allowed: {', '.join(STRATEGIES)}")
    cls, denoiser = STRATEGIES[form.strategy], config.denoiser
    if form.start == PICTURE and not issubclass(cls, Ancestral):
        raise ValueError(f"strategy is {form.strategy}; image to image goes with posterior")
    steps = _whole("steps", form.steps, 1, denoiser.num_timesteps)
    # A picture given leaves only the timesteps from its noise level down.
    steps = min(steps, first_timestep_of(strength, denoiser.num_timesteps) + 1)
    if not hasattr(cls, "with_calls"):
        return {}
    made = cls.with_calls(steps, denoiser.num_timesteps, denoiser.num_tokens)
    return {name: getattr(made, name) for name in settings_of(cls) if getattr(made, name) is not None}


def _number(name: str, value: Any, least: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value) or not least <= value <= most:
        raise ValueError(f"{name} is {_said(value)}; give a number from {least:g} to {most:g}")
    return float(value)


def _whole(name: str, value: Any, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, Real) or not least <= value <= most or value != int(value):
        raise ValueError(f"{name} is {_said(value)}; give a whole number from {least} to {most}")
    return int(value)


def _said(value: Any) -> str:
    return (
        "empty" if value is None or value == "" else f"{value:.12g}" if isinstance(value, float) else repr(value)[:40]
    )
