"""A server's parts put together: what is asked is settled, queued, drawn, and answered in OpenAI's shape."""

from __future__ import annotations

import asyncio
import base64
import logging
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ..call import Call
from ..errors import ApiError, ClientLeft, QueueClosed, QueueFull, SettingError
from ..exit_status import describe
from ..pipeline import VQDiffusionPipeline
from ..web.turns import Turns
from .asked import Asked, Model, read
from .batches import Batches, Picture, Ticket
from .counts import ServerCounts
from .drawing import Drawn, Studio
from .edits import MASK, PAINTED, start_of
from .guard import FILES
from .kept import Kept
from .limits import Limits
from .refusals import of_setting

_SUBJECTS = {"text": "prompt", "class": "class_labels"}  # by the model's condition
_SEEDS = 2**32  # from which a seed is drawn for a request without one


class Service:
    """The API without HTTP.

    name: of the model.  origin: of the pipeline, as ``recipe`` takes it.
    turns: shared with others that draw with the pipeline.
    """

    def __init__(
        self,
        pipeline: VQDiffusionPipeline,
        limits: Limits,
        *,
        name: str,
        origin: Mapping[str, Any],
        turns: Turns | None = None,
    ):
        self.limits, self.model = limits, Model(name, pipeline.config.codec.image_size)
        self.studio = Studio(pipeline, limits, origin)
        self.counts = ServerCounts(lambda: self.batches.waiting)
        self.batches = Batches(
            self.studio.draw, most=limits.waiting, wait=limits.max_wait, told=self.counts.drawn, turns=turns
        )
        self.kept = Kept(most=limits.kept, most_bytes=limits.kept_bytes, seconds=limits.kept_seconds)
        self.since = int(time.time())

    def generation(self, table: Mapping[str, Any]) -> tuple[Asked, list[Picture]]:
        """Return what a table of fields asks for, and its pictures.  Raises ApiError."""
        return self._settled(read(table, self.model, self.limits))

    def edit(self, table: Mapping[str, Any], files: Mapping[str, bytes]) -> tuple[Asked, list[Picture]]:
        """Return what fields and files ask for, and the pictures.  Raises ApiError."""
        asked = read(table, self.model, self.limits, edits=True)
        start = start_of(files, asked.fields, self.model.size, self.limits)
        asked.fields.pop("outpaint", None)
        asked.fields.update(start)
        return self._settled(asked)

    async def drawn(self, pictures: list[Picture], left: Callable[[], Any]) -> list[Drawn]:
        """Queue pictures and return them once they are drawn.

        left: returns an awaitable that ends when the client has left.
        Raises ApiError for a full queue, an ending server, and what cannot be drawn; ClientLeft.
        """
        try:
            ticket = self.batches.join(pictures)
        except QueueFull as full:
            told = f"{self.batches.waiting} pictures wait; come again in {full.retry_after} seconds"
            raise ApiError(told, status=429, retry_after=full.retry_after) from full
        except QueueClosed as ending:
            raise _ending() from ending
        return await self._ended(ticket, left)

    def answer(self, asked: Asked, drawn: list[Drawn], address: str) -> dict[str, Any]:
        """Return the body of the answer.  address: of the server, for URLs."""
        data = []
        for one in drawn:
            if asked.form == "url":
                found = {"url": f"{address.rstrip('/')}{FILES}{self.kept.put(one.png)}"}
            else:
                found = {"b64_json": base64.b64encode(one.png).decode()}
            found |= {"seed": one.seed} | ({} if one.recipe is None else {"recipe": one.recipe})
            data.append(found)
        told = {"warnings": list(asked.warnings)} if asked.warnings else {}
        return {"created": int(time.time()), "output_format": "png", "data": data} | told

    def models(self) -> dict[str, Any]:
        """Return the one model, as OpenAI lists models."""
        return {"object": "list", "data": [self.model_table()]}

    def model_table(self) -> dict[str, Any]:
        return {"id": self.model.name, "object": "model", "created": self.since, "owned_by": "vqdiffusion_jax"}

    def _settled(self, asked: Asked) -> tuple[Asked, list[Picture]]:
        subject = _SUBJECTS.get(self.studio.condition)
        if subject is not None and subject not in asked.fields:
            raise ApiError(f"{subject} is missing; say what to draw", param=subject, code="missing_parameter")
        if "seed" not in asked.fields:
            asked.fields["seed"] = secrets.randbelow(_SEEDS)
        settings, lines = asked.settings(), list[str]()

        def settled(call: Call) -> None:
            lines.extend(call.unused(lambda name: MASK if name == "mask_image" else asked.spell(name), painted=PAINTED))

        try:
            pictures = self.studio.pictures_of(settings, settled)
            return replace(asked, warnings=tuple(lines)), pictures
        except SettingError as error:
            raise of_setting(error, asked.spell) from error

    async def _ended(self, ticket: Ticket, left: Callable[[], Any]) -> list[Drawn]:
        drawing = asyncio.wrap_future(ticket.future)
        leaving = asyncio.ensure_future(left())
        try:
            await asyncio.wait((drawing, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not drawing.done():
                self.counts.left()
                raise ClientLeft
            return drawing.result()
        except QueueClosed as ending:
            raise _ending() from ending
        except ClientLeft:
            raise
        except Exception as error:
            said = describe(error)
            if said is None:
                logging.exception("pictures could not be drawn")
            raise ApiError(said or "the pictures could not be drawn", status=500) from error
        finally:
            leaving.cancel()
            self.batches.leave(ticket)  # also where this task is cancelled


def _ending() -> ApiError:
    return ApiError("the server is ending; ask again, of another one", status=503, retry_after=1)
