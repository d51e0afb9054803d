"""The ASGI app of one worker."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from mmgrec.serving import (
    filters,
    inference_protocol,
    items,
    operations,
    page_routes,
    recommend,
)
from mmgrec.serving.metrics import Metrics
from mmgrec.serving.middleware import Observed
from mmgrec.serving.openapi import describe
from mmgrec.serving.options import ServeOptions, Worker
from mmgrec.serving.problems import Problem, of_error, respond
from mmgrec.serving.serving import Serving
from mmgrec_engine import __version__
from mmgrec_engine.errors import MMGRecError

ROUTERS = (
    recommend.router,
    items.router,
    filters.router,
    inference_protocol.router,
    operations.router,
)


def make_app(options: ServeOptions, worker: Worker, metrics: Metrics | None = None) -> FastAPI:
    """Make the app; its model begins to load when the server starts it.

    Parameters
    ----------
    options : ServeOptions
        What was asked for.
    worker : Worker
        Which process this is.
    metrics : Metrics, optional
        Where figures go; by default this process's own.
    """
    serving = Serving(options, worker, metrics or Metrics())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await serving.start()
        yield
        await serving.stop()

    app = FastAPI(
        title="mmgrec",
        version=__version__,
        description="Generative multimodal recommendation over HTTP.",
        lifespan=lifespan,
        redoc_url=None,
    )
    app.state.serving = serving
    for router in ROUTERS:
        app.include_router(router)
    if options.page:
        app.include_router(page_routes.router)
    app.openapi = lambda: describe(app)  # type: ignore[method-assign]
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(MMGRecError, _engine_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_middleware(Observed, metrics=serving.metrics, access_log=options.access_log)
    return app


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return respond(request, error)


async def _engine_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, MMGRecError)
    return respond(request, of_error(error))


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    return respond(request, Problem(error.status_code, str(error.detail), headers=headers))
