"""Items by text, for people who build a history by typing."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BaseModel

from mmgrec.serving.schemas import Id
from mmgrec_engine.engine import Engine

MOST = 12
"""Suggestions at a time."""

TITLES = ("title", "name")
LONGEST = 200


class Found(BaseModel):
    """An item and what people call it."""

    id: Id
    title: str | None


def title_column(table: pl.DataFrame) -> str | None:
    """Return the column that names items, if there is one."""
    return next((name for name in TITLES if name in table.columns), None)


def items(engine: Engine, text: str) -> tuple[list[Found], int]:
    """Return the best few items for a text, and how many there are.

    ::

        fits: the text is in the title, whatever its case, or begins the id
        order: the id or title itself, titles that begin with it, most interactions in training
    """
    table, text = engine.items, text[:LONGEST].strip().lower()
    title = title_column(table)
    # Texts only, so that whatever was typed is compared as it is and nothing is a pattern.
    ids = pl.col("item").cast(pl.String).str.to_lowercase()
    names = ids if title is None else pl.col(title).cast(pl.String).fill_null("").str.to_lowercase()
    fits = names.str.contains(text, literal=True) | ids.str.starts_with(text)
    found = (
        table.lazy()
        .with_row_index("row")
        .filter(pl.col("token_0").is_not_null() & fits)
        .select(
            "row",
            "popularity",
            whole=(ids == text) | (names == text),
            begins=names.str.starts_with(text),
        )
        .sort(
            ["whole", "begins", "popularity"],
            descending=True,
            nulls_last=True,
            maintain_order=True,
        )
        .collect()
    )
    return named_rows(engine, found["row"][:MOST].to_numpy().astype(np.int64)), len(found)


def named(engine: Engine, ids: Sequence[Hashable]) -> list[Found]:
    """Return items with their titles."""
    return named_rows(engine, engine.item_ids.rows(ids, "items"))


def named_rows(engine: Engine, rows: NDArray[np.int64]) -> list[Found]:
    """Return the items of rows with their titles."""
    table = engine.items
    title = title_column(table)
    ids = engine.item_ids.ids(rows).tolist()
    names = [None] * len(rows) if title is None else table[title][rows].cast(pl.String).to_list()
    return [Found(id=ident, title=name) for ident, name in zip(ids, names, strict=True)]
