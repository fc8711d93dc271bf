"""The application: the routes behind their guard, and a page that describes them."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import FastAPI, Security
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from .. import __version__
from ..web.access import Access
from .guard import DESCRIPTION, DOCS, ApiGuard
from .refusals import as_table
from .routes import router
from .service import Service

_ABOUT = """Pictures from text, in the shape of OpenAI's images API.  A request may also give every setting of the
command line, under the same name.  The same seed and batch_size give the same picture, here and by `--mode=sample`."""


def application(
    service: Service,
    access: Access,
    *,
    address: str | None = None,
    docs: str = "",
    guard: Callable[..., ApiGuard] = ApiGuard,
) -> FastAPI:
    """Return the application of a service.

    address: of the server as clients see it, for URLs.  docs: what stands before the paths of its description.
    guard: makes the guard; it takes the arguments of ApiGuard.
    """
    # The guard is what checks the key; this tells the page of the API that there is one.
    key = [] if access.password is None else [Security(HTTPBearer(auto_error=False, description="The server's key"))]
    app = FastAPI(
        title="VQ-Diffusion",
        version=__version__,
        description=_ABOUT,
        docs_url=docs + DOCS,
        openapi_url=docs + DESCRIPTION,
        redoc_url=None,
        dependencies=key,
    )
    app.include_router(router(service, address=address))
    app.add_exception_handler(HTTPException, _refused)
    told = service.counts.answered
    app.add_middleware(guard, access=access, limits=service.limits, told=told, docs=docs)
    return app


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    told = {404: "there is no such path", 405: "this path does not take this method"}
    table = as_table(error.status_code, told.get(error.status_code, error.detail))
    return JSONResponse(table, error.status_code, headers=error.headers)
