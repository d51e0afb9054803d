"""`/v1/filters`: named sets of items for `where`."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request

from mmgrec.serving.access import check_token
from mmgrec.serving.bodies import parse, read_body
from mmgrec.serving.openapi import body_of, problems
from mmgrec.serving.problems import not_found
from mmgrec.serving.schemas import FilterNames, NamedFilter
from mmgrec.serving.serving import Serving, serving_of
from mmgrec_engine.engine import Engine
from mmgrec_engine.errors import RequestError

router = APIRouter(tags=["filters"])


@router.get("/v1/filters", responses=problems(503))
async def names(request: Request) -> FilterNames:
    """List the names."""
    return _names(serving_of(request))


@router.put(
    "/v1/filters/{name}",
    openapi_extra=body_of(NamedFilter),
    responses=problems(400, 401, 403, 408, 409, 413, 422, 503),
)
async def put(request: Request, name: str) -> FilterNames:
    """Name a set of items, in place of one of this name; other workers see it in a moment."""
    serving = serving_of(request)
    check_token(request, serving.options.token)
    serving.models.get()
    asked = parse(NamedFilter, await read_body(request, serving.options.limits))

    def change(engine: Engine) -> None:
        serving.filters.set(engine, name, asked.ids)

    try:
        await serving.models.edit(change)
    except RequestError:
        await serving.models.follow()  # another worker may have inserted the items just now
        await serving.models.edit(change)
    return _names(serving)


@router.delete("/v1/filters/{name}", responses=problems(401, 403, 404, 409, 503))
async def remove(request: Request, name: str) -> FilterNames:
    """Forget a set."""
    serving = serving_of(request)
    check_token(request, serving.options.token)

    def change(engine: Engine) -> None:
        try:
            serving.filters.remove(engine, name)
        except RequestError as error:
            raise not_found(error) from None

    await serving.models.edit(change)
    return _names(serving)


def _names(serving: Serving) -> FilterNames:
    return FilterNames(filters=serving.models.get().engine.filter_names())
