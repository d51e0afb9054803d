"""`/v1/items`: what is in the catalogue, and live edits of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from fastapi import APIRouter
from starlette.requests import Request

from mmgrec.serving.access import check_token
from mmgrec.serving.bodies import parse, read_body
from mmgrec.serving.editor import passed_on
from mmgrec.serving.openapi import body_of, problems
from mmgrec.serving.problems import not_found
from mmgrec.serving.schemas import DeleteItems, EditAnswer, InsertItems, Item
from mmgrec.serving.serving import Serving, serving_of
from mmgrec_engine.engine import Engine
from mmgrec_engine.errors import RequestError

router = APIRouter(tags=["items"])
_ERRORS = problems(400, 401, 403, 408, 409, 413, 422, 503)


@router.get("/v1/items/{item}", response_model=Item, responses=problems(404, 503))
async def show(request: Request, item: str) -> Item:
    """Describe an item."""
    engine = serving_of(request).models.get().engine
    try:
        ident = engine.item_ids.parse(item)
        row = int(engine.item_ids.rows([ident], "item")[0])
    except RequestError as error:
        raise not_found(error) from None
    values = engine.items.row(row, named=True)
    tokens = [values.pop(name) for name in list(values) if name.startswith("token_")]
    del values["item"]
    live = None not in tokens
    return Item(id=ident, live=live, rec_id=tokens if live else None, columns=values)  # type: ignore[arg-type]


@router.post(
    "/v1/items",
    response_model=EditAnswer,
    openapi_extra=body_of(InsertItems),
    responses=_ERRORS,
)
async def insert(request: Request) -> Any:  # noqa: ANN401 - a model or a response
    """Add items, or give known ones new features; durable when answered, all or none."""
    serving, body = await _editable(request)
    passed = await passed_on(serving, request, body)
    if passed is not None:
        return passed
    asked = parse(InsertItems, body)
    serving.check_size("the number of items", len(asked.ids), serving.options.limits.edited_items)
    rec_ids = await serving.models.edit(lambda engine: _insert(engine, asked))
    kind = "replace" if asked.replace else "insert"
    serving.metrics.edits.labels(kind).inc(len(asked.ids))
    return EditAnswer(ids=asked.ids, rec_ids=rec_ids)


@router.delete(
    "/v1/items",
    response_model=EditAnswer,
    openapi_extra=body_of(DeleteItems),
    responses=_ERRORS,
)
async def delete(request: Request) -> Any:  # noqa: ANN401
    """Remove items, all or, where one is unknown, none."""
    serving, body = await _editable(request)
    passed = await passed_on(serving, request, body)
    if passed is not None:
        return passed
    asked = parse(DeleteItems, body)
    serving.check_size("the number of items", len(asked.ids), serving.options.limits.edited_items)
    await serving.models.edit(lambda engine: engine.delete(asked.ids))
    serving.metrics.edits.labels("delete").inc(len(asked.ids))
    return EditAnswer(ids=asked.ids)


@router.delete("/v1/items/{item}", response_model=EditAnswer, responses=_ERRORS)
async def delete_one(request: Request, item: str) -> Any:  # noqa: ANN401
    """Remove one item."""
    serving, body = await _editable(request)
    passed = await passed_on(serving, request, body)
    if passed is not None:
        return passed
    ident = serving.models.get().engine.item_ids.parse(item)
    await serving.models.edit(lambda engine: engine.delete([ident]))
    serving.metrics.edits.labels("delete").inc()
    return EditAnswer(ids=[ident])  # type: ignore[list-item]


async def _editable(request: Request) -> tuple[Serving, bytes]:
    """Check the token before anything of the body is read."""
    serving = serving_of(request)
    check_token(request, serving.options.token)
    serving.models.get()
    return serving, await read_body(request, serving.options.limits)


def _insert(engine: Engine, asked: InsertItems) -> list[list[int]]:
    features = {name: _matrix(name, rows) for name, rows in (asked.features or {}).items()}
    present = {name: np.array(flags, bool) for name, flags in (asked.present or {}).items()}
    vectors = None if asked.vectors is None else _matrix("vectors", asked.vectors)
    arguments = (asked.ids, features if asked.features is not None else None, present or None)
    if asked.replace:
        if asked.columns:
            raise RequestError("columns of known items stay", remedy="leave columns out")
        rec_ids = engine.replace(*arguments, vectors=vectors)
    else:
        rec_ids = engine.insert(*arguments, asked.columns, vectors=vectors)
    found: list[list[int]] = rec_ids.tolist()
    return found


def _matrix(name: str, rows: list[list[float]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Make an array of rows, which must be equally long."""
    if len({len(row) for row in rows}) > 1:
        raise RequestError(f"{name}: rows differ in length", allowed="one width for all items")
    return np.array(rows, np.float64)
