"""The routes of the API, for a server of their own and for the page's."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ..errors import ApiError, ClientLeft
from .asked import Asked, inputs, table_of, table_of_form
from .batches import Picture
from .counts import CONTENT_TYPE
from .edits import IMAGE, MASK
from .guard import COUNTS, EDITS, FILES, GENERATIONS, HEALTH
from .refusals import as_table
from .schema import answers, body_of
from .service import Service

_LEFT = 499  # the status that proxies log for a client that left; nobody reads it
_LOOK = 0.2  # seconds between looks whether a client is still there
_MOST_FIELDS = 100


def router(service: Service, *, address: str | None = None) -> APIRouter:
    """Return the routes of a service.

    address: of the server as clients see it, for URLs; by default the one that a request names.
    """
    made, limits, model = APIRouter(), service.limits, service.model

    async def pictures(request: Request, asked: Asked, wanted: list[Picture]) -> Response:
        drawn = await service.drawn(wanted, lambda: _left(request))
        return JSONResponse(service.answer(asked, drawn, address or str(request.base_url)))

    async def edited(request: Request) -> tuple[Asked, list[Picture]]:
        fields, files = await _form(request)
        table = table_of_form(fields, inputs(limits, edits=True))
        return await run_in_threadpool(service.edit, table, files)

    # An unpacked picture takes much memory.  The guard counts the bodies of those that wait, and bounds their sum.
    reading = asyncio.Lock()

    @made.post(
        GENERATIONS,
        summary="Draw pictures",
        tags=["images"],
        responses=answers(),
        openapi_extra={"requestBody": body_of(model, limits, edits=False)},
    )
    @told
    async def generations(request: Request) -> Response:
        body = await request.body()
        return await pictures(request, *await run_in_threadpool(lambda: service.generation(table_of(body))))

    @made.post(
        EDITS,
        summary="Paint a part of a picture anew, start from a picture, or extend it",
        tags=["images"],
        responses=answers(),
        openapi_extra={"requestBody": body_of(model, limits, edits=True)},
    )
    @told
    async def edits(request: Request) -> Response:
        async with reading:
            asked = await edited(request)
        return await pictures(request, *asked)

    @made.get("/v1/models", summary="The model of this server", tags=["models"])
    async def models() -> dict[str, Any]:
        return service.models()

    @made.get("/v1/models/{name:path}", summary="One model", tags=["models"])
    @told
    async def one_model(request: Request, name: str) -> Response:
        if name != model.name:
            told = f"this server has {model.name} alone"
            raise ApiError(told, status=404, param="model", code="model_not_found")
        return JSONResponse(service.model_table())

    @made.get(FILES + "{name}", summary="A picture that was asked for as a URL", tags=["images"])
    @told
    async def file(request: Request, name: str) -> Response:
        if (png := service.kept.get(name)) is None:
            raise ApiError("there is no such picture, or it is not kept any more", status=404)
        return Response(png, media_type="image/png", headers={"cache-control": "private, max-age=600"})

    @made.get(HEALTH, summary="Whether pictures are drawn", tags=["server"])
    async def health() -> Response:
        closed = service.batches.closed
        table = {"status": "ending" if closed else "ok", "waiting": service.batches.waiting}
        return JSONResponse(table, 503 if closed else 200)

    @made.get(COUNTS, summary="Counts, as Prometheus reads them", tags=["server"])
    async def counts() -> Response:
        return Response(service.counts.text(), headers={"content-type": CONTENT_TYPE})

    return made


def told(answer: Callable[..., Awaitable[Response]]) -> Callable[..., Awaitable[Response]]:
    """Return a handler of requests that answers errors in OpenAI's shape."""

    @wraps(answer)
    async def answered(request: Request, **named: Any) -> Response:
        try:
            return await answer(request, **named)
        except ApiError as error:
            return refusal(error)
        except ClientLeft:
            return Response(status_code=_LEFT)

    return answered


def refusal(error: ApiError) -> Response:
    """Return the answer to a request that is refused."""
    headers = {"retry-after": str(error.retry_after)} if error.retry_after else {}
    table = as_table(error.status, str(error), error.param, error.code)
    return JSONResponse(table, error.status, headers=headers)


async def _left(request: Request) -> None:
    while not await request.is_disconnected():
        await asyncio.sleep(_LOOK)


async def _form(request: Request) -> tuple[dict[str, str], dict[str, bytes]]:
    """Return the fields and the files of a form.  Raises ApiError for any other body, and for what it does not take."""
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise ApiError("the body must be multipart/form-data, with the file image")
    try:
        async with request.form(max_files=2, max_fields=_MOST_FIELDS) as form:
            return await _read(form)
    except HTTPException as error:
        raise ApiError(f"the form cannot be read: {error.detail}") from error


async def _read(form: FormData) -> tuple[dict[str, str], dict[str, bytes]]:
    fields: dict[str, str] = {}
    files: dict[str, bytes] = {}
    for key, value in form.multi_items():
        name = key.removesuffix("[]")
        if isinstance(value, UploadFile):
            if name not in (IMAGE, MASK):
                raise ApiError(f"there is no file {name}; send {IMAGE} and {MASK}", param=name[:100])
            if name in files:
                raise ApiError(f"{name} is sent twice; this server takes one", param=name)
            files[name] = await value.read()
        elif name in (IMAGE, MASK):
            raise ApiError(f"{name} is sent as a text; send it as a file", param=name)
        elif name in fields and not key.endswith("[]"):
            raise ApiError(f"{name[:100]} is given twice; give it once", param=name[:100])
        else:
            fields[name] = f"{fields[name]},{value}" if name in fields else value
    return fields, files
