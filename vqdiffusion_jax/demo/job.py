"""A job: the settled call of one form, and the recipe of its pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..call import Call, settle
from ..errors import SettingError
from ..generation import calls_a_piece
from ..pipeline import VQDiffusionPipeline
from ..recipe import PICTURES, recipe, recipe_of_one
from ..sampling import SamplingSettings
from ..sampling.registry import name_of
from ..sampling.strategy import usual_calls
from .form import Form, read_form
from .limits import Limits


@dataclass(frozen=True)
class Job:
    """Pictures to draw.

    call: settled; together: the number of pictures drawn at a time; every: the number of network calls between frames;
    recipe: of all its pictures.
    """

    call: Call
    together: int
    every: int
    recipe: dict[str, Any]

    @property
    def settings(self) -> SamplingSettings:
        return self.call.settings

    @property
    def count(self) -> int:
        """The number of pictures."""
        return len(self.call.subjects)

    @property
    def calls(self) -> int:
        """The network calls of a picture, at most."""
        return len(self.call.plan)

    @property
    def usual_calls(self) -> int:
        """The network calls that a picture usually takes."""
        return usual_calls(self.call.strategy, self.call.plan)

    @property
    def strategy(self) -> str:
        """The name of the strategy."""
        return name_of(self.call.strategy)

    @property
    def start(self) -> dict[str, np.ndarray]:
        """The pictures that the job starts from, by the settings that name them."""
        found = {name: getattr(self.settings, name) for name in PICTURES}
        return {name: picture for name, picture in found.items() if picture is not None}

    def caption_of(self, index: int) -> str:
        """Return picture ``index`` in a few words, other than those of the job's other pictures."""
        shown = self.recipe.get("prompt", self.recipe.get("class_labels"))
        number = f"picture {index + 1} of {self.count}" if self.count > 1 else None
        parts = (shown, f"seed {self.recipe['seed']}", number, self.strategy, f"{self.usual_calls} calls")
        return ", ".join(str(part) for part in parts if part is not None)

    def recipe_of(self, index: int) -> dict[str, Any]:
        """Return the recipe of picture ``index``; the pictures that it starts from lie beside it."""
        return recipe_of_one(self.recipe, index)


def job_of(form: Form, pipeline: VQDiffusionPipeline, limits: Limits, origin: Mapping[str, Any]) -> Job:
    """Return the job of a form.  Raises SettingError for what cannot be drawn, or is more than ``limits``.

    origin: of the pipeline, as ``recipe`` takes it.
    """
    settings = read_form(form, pipeline.config, limits)
    call = settle(pipeline.config, pipeline.schedule, pipeline.tokenizer, settings)
    calls = len(call.plan)
    if calls > limits.calls:
        told = "a picture takes {value:,} network calls with these settings of {strategy}; at most {most:,} are made"
        raise SettingError(told, value=calls, most=limits.calls)
    together = pipeline.pictures_together(len(call.subjects))
    files = {name: f"{name}.png" for name in PICTURES if getattr(settings, name) is not None}
    shared = recipe(origin, call.settings.changed(**files, batch_size=together))
    # A picture that ends early shows about as many frames as one that does not.
    frames = round(limits.frames * calls / usual_calls(call.strategy, call.plan))
    return Job(call, together, calls_a_piece(calls, frames), shared)
