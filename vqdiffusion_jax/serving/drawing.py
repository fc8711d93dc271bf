"""Pictures of requests, drawn together and written as PNG files with their recipes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from ..call import Call, settle
from ..call.joint import joint, shared_by, single_pictures
from ..errors import BatchStopped, SettingError
from ..generation import calls_a_piece
from ..pictures.png_text import png_info
from ..pipeline import VQDiffusionPipeline
from ..recipe import KEYWORD, PICTURES, recipe, recipe_of_one, texts_of_png
from ..sampling.settings import SamplingSettings, any_subject
from .batches import Picture
from .limits import Limits

_PIECES = 25  # of a picture's network calls, between which a batch can stop


@dataclass(frozen=True)
class Drawn:
    """A picture: its PNG file and, unless it began from another, the recipe that draws it again."""

    png: bytes
    seed: int
    recipe: dict[str, Any] | None


class Studio:
    """A pipeline that draws what requests ask for.

    origin: of the pipeline, as ``recipe`` takes it.
    """

    def __init__(self, pipeline: VQDiffusionPipeline, limits: Limits, origin: Mapping[str, Any]):
        self.pipeline, self.limits, self.origin = pipeline, limits, origin

    @property
    def condition(self) -> str:
        """The kind of the model's condition: "text", "class" or "none"."""
        return self.pipeline.config.denoiser.condition

    def pictures_of(
        self, settings: SamplingSettings, settled: Callable[[Call], None] = lambda call: None
    ) -> list[Picture]:
        """Return the pictures of a request, each with settings of its own.

        settled: takes the call of all of them.
        Raises SettingError for settings that do not fit the model, or take more network calls than are allowed.
        """
        call = self._settled(settings)
        if len(call.plan) > self.limits.calls:
            told = (
                "a picture takes {value:,} network calls with these settings of {strategy}; at most {most:,} are made"
            )
            raise SettingError(told, value=len(call.plan), most=self.limits.calls)
        settled(call)
        together = settings.batch_size or self.limits.max_batch
        whole = call.settings.changed(batch_size=together)
        return [Picture(one, shared_by(one), together) for one in single_pictures(whole)]

    def draw(self, pictures: list[SamplingSettings], stopped: Callable[[], bool]) -> list[Drawn]:
        """Draw pictures that can be drawn together.  Raises BatchStopped once ``stopped`` tells so."""
        call = self._settled(joint(pictures))

        def watch(done: int, timestep: int, tokens: Any) -> bool:
            np.asarray(tokens)  # waits for the device, so that no calls pile up behind those of a batch that stops
            return stopped()

        drawn: list[np.ndarray] = []
        every = calls_a_piece(len(call.plan), _PIECES)
        for batch in self.pipeline.draw(call, callback=watch, callback_steps=every):
            if stopped():
                raise BatchStopped
            drawn += list(batch.images)
        return [self._drawn(one, picture, len(call.plan)) for one, picture in zip(pictures, drawn, strict=True)]

    def warm_up(self) -> None:
        """Compile the programs of the model's own settings, by the first network calls of a picture."""
        settings = SamplingSettings.of(**any_subject(self.condition), seed=0, output_type="uint8")
        with contextlib.suppress(BatchStopped):
            self.draw([one.settings for one in self.pictures_of(settings)], lambda: True)

    def _settled(self, settings: SamplingSettings) -> Call:
        pipeline = self.pipeline
        return settle(pipeline.config, pipeline.schedule, pipeline.tokenizer, settings)

    def _drawn(self, settings: SamplingSettings, picture: np.ndarray, steps: int) -> Drawn:
        """Return the file of a picture (height, width, 3) uint8 that was drawn with ``settings``."""
        began = settings.image is not None
        table = self._recipe(settings)
        texts = texts_of_png(table, (picture.shape[1], picture.shape[0]), steps)
        if began:
            del texts[KEYWORD]  # the picture that it began from is not kept
        file = BytesIO()
        Image.fromarray(picture).save(file, format="PNG", pnginfo=png_info(texts))
        return Drawn(file.getvalue(), settings.seed, None if began else table)  # pyright: ignore[reportArgumentType] one

    def _recipe(self, settings: SamplingSettings) -> dict[str, Any]:
        start = dict.fromkeys((*PICTURES, "strength"))
        table = recipe(self.origin, settings.changed(**start))
        if settings.strength is not None:
            table["strength"] = settings.strength
        return recipe_of_one(table, settings.first_image)
