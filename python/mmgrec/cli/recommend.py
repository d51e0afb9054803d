"""`mmgrec recommend`: items for known users or for histories given on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmgrec.cli.output import print_json, print_table
from mmgrec.cli.runs import JsonOption, RunArgument, load_engine
from mmgrec_engine.errors import RequestError

if TYPE_CHECKING:
    import polars as pl
    from rich.table import Table

    from mmgrec_engine.engine import Engine
    from mmgrec_engine.requests import Recommendations


def recommend(
    run: RunArgument,
    user: Annotated[list[str] | None, typer.Option(help="A user of the data; repeatable.")] = None,
    history: Annotated[
        list[str] | None, typer.Option(help="Item ids, separated by commas; repeatable.")
    ] = None,
    k: Annotated[int, typer.Option("-k", "--k", help="Items per user.")] = 10,
    beam_width: Annotated[int, typer.Option(help="Beams per user.")] = 50,
    exact: Annotated[
        bool, typer.Option("--exact", help="Find the true best of the whole catalogue.")
    ] = False,
    exact_limit: Annotated[
        int, typer.Option(min=1, help="Prefixes decoded per user before --exact gives up.")
    ] = 20_000,
    json: JsonOption = False,
) -> None:
    """Recommend items, titles included; what a user has seen is left out."""
    if not user and not history:
        raise RequestError("nobody to recommend to", remedy="give --user or --history")
    engine = load_engine(run)
    names, users, histories = _known_users(run, user or [])
    for text in history or []:
        names.append(f"history {text}")
        users.append(None)
        parts = (part.strip() for part in text.split(","))
        histories.append([engine.item_ids.parse(part) for part in parts if part])
    found = engine.recommend(
        histories,
        users=users,
        k=k,
        beam_width=beam_width,
        exact=exact,
        exact_limit=exact_limit,
    )
    if json:
        print_json(_as_json(names, found))
        return
    for row, name in enumerate(names):
        print_table(_table(engine, name, found, row))


def _known_users(run: Path, texts: list[str]) -> tuple[list[str], list[Any], list[list[Any]]]:
    if not texts:
        return [], [], []
    from mmgrec.data.known_users import KnownUsers

    known = KnownUsers.of_run(run)
    users: list[Any] = [known.ids.parse(text) for text in texts]
    return [f"user {user}" for user in users], users, known.histories(users, "--user")


def _as_json(names: list[str], found: Recommendations) -> list[dict[str, Any]]:
    return [
        {
            "for": name,
            "items": [item for item in found.items[row] if item is not None],
            "scores": [float(score) for score in found.scores[row] if score > float("-inf")],
            "certified": bool(found.certified[row]),
            **({} if found.expanded is None else {"expanded": int(found.expanded[row])}),
            **({} if found.limit_hit is None else {"limit_hit": bool(found.limit_hit[row])}),
        }
        for row, name in enumerate(names)
    ]


def _how_sure(found: Recommendations, row: int) -> str:
    if found.certified[row]:
        return "provably the best of the catalogue"
    if found.expanded is None:
        return "beam search"
    return f"not proved: --exact-limit reached after {found.expanded[row]:,} prefixes"


def _table(engine: Engine, name: str, found: Recommendations, row: int) -> Table:
    from rich.markup import escape
    from rich.table import Table

    items: pl.DataFrame = engine.items
    table = Table(title=f"For {escape(name)} ({_how_sure(found, row)})", title_justify="left")
    table.add_column("", justify="right")
    table.add_column("item", justify="right")
    if "title" in items.columns:
        table.add_column("title")
    table.add_column("log p", justify="right")
    for place, (item, score) in enumerate(zip(found.items[row], found.scores[row], strict=True), 1):
        if item is None:
            break
        title = []
        if "title" in items.columns:
            rank = int(engine.item_ids.rows([item], "item")[0])
            title = [escape(str(items["title"][rank] or ""))]
        table.add_row(str(place), escape(str(item)), *title, f"{score:.3f}")
    return table
