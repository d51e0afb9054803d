"""The page at `/`, and what only it asks for: titles by text, users, posters, the beam's walk."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Hashable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from mmgrec.serving import page_search
from mmgrec.serving.bodies import parse, read_body
from mmgrec.serving.models import Served
from mmgrec.serving.openapi import body_of, problems
from mmgrec.serving.page_search import Found
from mmgrec.serving.problems import Problem, not_found
from mmgrec.serving.schemas import Body, Id, Positive
from mmgrec.serving.serving import Serving, serving_of
from mmgrec.serving.walk import WalkLevel, walk_beams
from mmgrec_engine.catalog.state import CatalogState
from mmgrec_engine.decoding.native_search import NativeSearcher
from mmgrec_engine.errors import RequestError

router = APIRouter(tags=["page"])

ASSETS = {
    "page.css": "text/css",
    **dict.fromkeys(("common.js", "page.js", "suggestions.js", "walk.js"), "text/javascript"),
    "icon.svg": "image/svg+xml",
}
POSTERS = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".webp": "image/webp"}
SECURITY = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cache-control": "no-cache",
}
_FOLDER = Path(str(files("mmgrec.serving"))) / "page"


class PageInfo(BaseModel):
    """What the page has to know before anything is asked."""

    title: str | None = Field(description="Column that names items; null: ids do.")
    posters: bool
    known_users: int
    items: int
    filters: list[str]
    most_k: int
    most_beams: int


class FoundItems(BaseModel):
    """Items, and in all how many fit where that is known."""

    items: list[Found]
    total: int


class FoundUser(BaseModel):
    """A known user and how many items the history has."""

    id: Id
    items: int


class WalkRequest(Body):
    """Who to walk for: a history, a known user, or a known user with this history."""

    history: list[Id] | None = None
    user: Id | None = None
    k: Positive = 10
    beam_width: Positive = 50
    exclude_seen: bool = Field(True, strict=True)
    where: str | None = None


class WalkPrefix(BaseModel):
    """A prefix. ``parent``: place in the level before; ``item``: the only one below."""

    tokens: list[int]
    score: float
    parent: int
    items: int
    kept: bool
    item: Found | None


class WalkedLevel(BaseModel):
    """A level's prefixes that are shown, best first, of all that were considered and kept."""

    considered: int
    survived: int
    prefixes: list[WalkPrefix]


class Walk(BaseModel):
    """The levels of the Rec-ID tree, the last one items."""

    levels: list[WalkedLevel]


@router.get("/", include_in_schema=False)
async def page() -> Response:
    """Show the page."""
    return FileResponse(_FOLDER / "index.html", media_type="text/html", headers=SECURITY)


@router.get("/page/{name}", include_in_schema=False)
async def asset(name: str) -> Response:
    """Return a part of the page."""
    if name not in ASSETS:
        raise Problem(404, "the page has no such part", value=name, allowed=", ".join(ASSETS))
    return FileResponse(_FOLDER / name, media_type=ASSETS[name], headers=SECURITY)


@router.get("/posters/{item}", response_class=Response, responses=problems(404, 503))
async def poster(request: Request, item: str) -> Response:
    """Return an item's poster."""
    serving = serving_of(request)
    folder = serving.options.posters
    if folder is None:
        raise Problem(404, "no posters are served", remedy="mmgrec serve RUN --posters FOLDER")
    ids = serving.models.get().engine.item_ids
    try:
        known = ids.parse(item)
        ids.rows([known], "item")
    except RequestError as error:
        raise not_found(error) from None
    name = str(known)
    for suffix, media in POSTERS.items():
        path = folder / f"{name}{suffix}"
        # An id is somebody's data: it names a file in the folder, never one elsewhere; os.path
        # says no to names that no file can have.
        if path.name == f"{name}{suffix}" and os.path.isfile(path):
            headers = {"cache-control": "max-age=3600", "x-content-type-options": "nosniff"}
            return FileResponse(path, media_type=media, headers=headers)
    raise Problem(404, "this item has no poster", value=repr(known))


@router.get("/v1/page", responses=problems(503))
async def info(request: Request) -> PageInfo:
    """Describe what can be asked for."""
    serving = serving_of(request)
    model = serving.models.get()
    return PageInfo(
        title=page_search.title_column(model.engine.items),
        posters=serving.options.posters is not None,
        known_users=len(model.users),
        items=model.engine.num_items,
        filters=model.engine.filter_names(),
        most_k=serving.options.limits.k,
        most_beams=serving.options.limits.beam_width,
    )


@router.get("/v1/page/items", responses=problems(503))
async def items(request: Request, q: str = "") -> FoundItems:
    """Find items by a part of their title or the beginning of their id, popular ones first."""
    model = serving_of(request).models.get()
    found, total = await asyncio.to_thread(page_search.items, model.engine, q)
    return FoundItems(items=found, total=total)


@router.get("/v1/page/users", responses=problems(503))
async def users(request: Request, q: str = "") -> list[FoundUser]:
    """Find known users by the beginning of their id."""
    model = serving_of(request).models.get()
    found = await asyncio.to_thread(model.users.search, q, page_search.MOST)
    return [FoundUser(id=user, items=count) for user, count in found]  # type: ignore[arg-type]


@router.get("/v1/page/users/{user}", responses=problems(404, 503))
async def history(request: Request, user: str) -> FoundItems:
    """Return the items of a known user's history, oldest first."""
    model = serving_of(request).models.get()
    try:
        known = model.users.parse(user)
    except RequestError as error:
        raise not_found(error) from None
    ids = model.users.histories([known])[0]
    named = await asyncio.to_thread(page_search.named, model.engine, ids)
    return FoundItems(items=named, total=len(named))


@router.post(
    "/v1/page/walk",
    response_model=Walk,
    openapi_extra=body_of(WalkRequest),
    responses=problems(400, 404, 408, 413, 422, 503, 504),
)
async def walk(request: Request) -> Walk:
    """Show how a beam search finds its items: every level's best prefixes, and what it dropped."""
    serving = serving_of(request)
    asked = parse(WalkRequest, await read_body(request, serving.options.limits))
    model = serving.models.get()
    ids = _history(serving, model, asked)
    try:
        async with asyncio.timeout(serving.deadline_seconds(None)):
            await serving.walking.acquire()
    except TimeoutError:
        raise Problem(504, "other walks were in the way", remedy="try again") from None
    try:
        return await asyncio.to_thread(_walk, model, ids, asked)
    finally:
        serving.walking.release()


def _history(serving: Serving, model: Served, asked: WalkRequest) -> Sequence[Hashable]:
    limits = serving.options.limits
    serving.check_size("k", asked.k, limits.k)
    serving.check_size("beam_width", asked.beam_width, limits.beam_width)
    serving.check_size("the length of a history", len(asked.history or ()), limits.history_items)
    if asked.history is not None:
        return asked.history
    if asked.user is None:
        raise Problem(422, "nobody to walk for", remedy="give a history or a user")
    return model.users.histories([asked.user])[0]


def _walk(model: Served, ids: Sequence[Hashable], asked: WalkRequest) -> Walk:
    engine = model.engine
    if not isinstance(engine.searcher, NativeSearcher):
        raise Problem(422, "walks need the native backend", value=engine.searcher.backend)
    state, request = engine.prepare(
        [ids],
        k=asked.k,
        beam_width=asked.beam_width,
        users=None if asked.user is None else [asked.user],
        exclude_seen=asked.exclude_seen,
        where=asked.where,
    )
    expander = engine.searcher.expander(state, request)
    levels = walk_beams(expander, state, k=asked.k, width=asked.beam_width)
    return Walk(levels=[_walked(model, state, level) for level in levels])


def _walked(model: Served, state: CatalogState, level: WalkLevel) -> WalkedLevel:
    places = np.flatnonzero(level.leaf >= 0)
    rows = state.rows_of(level.leaf[places])
    named = page_search.named_rows(model.engine, rows)
    found: list[Any] = [None] * len(level.leaf)
    for place, item in zip(places.tolist(), named, strict=True):
        found[place] = item
    prefixes = [
        WalkPrefix(
            tokens=level.tokens[place].tolist(),
            score=float(level.scores[place]),
            parent=int(level.parent[place]),
            items=int(level.items[place]),
            kept=bool(level.kept[place]),
            item=found[place],
        )
        for place in range(len(found))
    ]
    return WalkedLevel(considered=level.considered, survived=level.survived, prefixes=prefixes)
