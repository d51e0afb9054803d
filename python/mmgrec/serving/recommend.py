"""`POST /v1/recommend`."""

from __future__ import annotations

from typing import Any

import pydantic_core
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from mmgrec.serving.batcher import Call
from mmgrec.serving.bodies import parse, read_body
from mmgrec.serving.computing import Answer, UserItems
from mmgrec.serving.models import Served
from mmgrec.serving.openapi import body_of, problems
from mmgrec.serving.problems import Problem
from mmgrec.serving.schemas import RecommendAnswer, RecommendRequest
from mmgrec.serving.serving import Asked, Serving, serving_of

router = APIRouter(tags=["recommend"])


@router.post(
    "/v1/recommend",
    response_model=RecommendAnswer,
    openapi_extra=body_of(RecommendRequest),
    responses=problems(400, 404, 408, 413, 422, 429, 503, 504),
)
async def recommend(request: Request) -> Response:
    """Recommend items to histories or known users."""
    serving = serving_of(request)
    body = await read_body(request, serving.options.limits)
    asked = parse(RecommendRequest, body)
    answer = await ask(serving, request, asked)
    return Response(_json(answer, asked.columns), media_type="application/json")


async def ask(serving: Serving, request: Request, asked: RecommendRequest) -> Answer:
    """Check what was asked for, and have it computed."""
    _check(serving, asked)
    model = serving.models.get()
    _check_columns(model, asked.columns)
    return await serving.recommend(
        request, _call(asked), _who(model, asked), serving.deadline_seconds(asked.deadline_ms)
    )


def _call(asked: RecommendRequest) -> Call:
    return Call(
        asked.k,
        asked.beam_width,
        asked.exclude_seen,
        asked.exact_limit if asked.exact else None,
        asked.where,
        None if asked.allow is None else tuple(asked.allow),
        None if asked.deny is None else tuple(asked.deny),
    )


def _check_columns(model: Served, names: list[str]) -> None:
    for name in names:
        if name not in model.engine.items.columns:
            raise Problem(
                422,
                "unknown column",
                value=repr(name),
                allowed=", ".join(model.engine.items.columns),
            )


def _check(serving: Serving, asked: RecommendRequest) -> None:
    limits = serving.options.limits
    users = asked.histories if asked.histories is not None else asked.users
    if users is None:
        raise Problem(422, "nobody to recommend to", remedy="give histories or users")
    serving.check_size("the number of users", len(users), limits.histories)
    for history in asked.histories or ():
        serving.check_size("the length of a history", len(history), limits.history_items)
    serving.check_size("k", asked.k, limits.k)
    serving.check_size("beam_width", asked.beam_width, limits.beam_width)
    serving.check_size("exact_limit", asked.exact_limit, limits.exact_limit)


def _who(model: Served, asked: RecommendRequest) -> Asked:
    if asked.users is None:
        return Asked(asked.histories or [])
    if asked.histories is None:
        return Asked(model.users.histories(asked.users), asked.users)
    return Asked(asked.histories, asked.users)


def _json(answer: Answer, columns: list[str]) -> bytes:
    model = answer.model
    results = [_result(model, user, columns) for user in answer.users]
    answered = {"model": model.version, "results": results}
    return pydantic_core.to_json(answered, inf_nan_mode="null")  # what columns may hold


def _result(model: Served, user: UserItems, columns: list[str]) -> dict[str, Any]:
    result: dict[str, Any] = {
        "items": user.items,
        "scores": user.scores,
        "certified": user.certified,
        "source": "model" if user.scores is not None else "popular",
    }
    if user.expanded is not None:
        result |= {"expanded": user.expanded, "limit_hit": user.limit_hit}
    if columns:
        table = model.engine.items
        rows = model.engine.item_ids.rows(user.items, "items")
        result["columns"] = {name: table[name][rows].to_list() for name in columns}
    return result
