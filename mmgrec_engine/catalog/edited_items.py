"""What callers say about items that they edit, checked; and what a catalogue knows of them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mmgrec_engine.catalog.followed import FollowedCatalog
from mmgrec_engine.catalog.item_payload import ItemPayload
from mmgrec_engine.catalog.live import LiveCatalog
from mmgrec_engine.catalog.state import CatalogState
from mmgrec_engine.errors import ArtifactError, EditError, RequestError

Ints = NDArray[np.int64]


def as_new_ids(ids: Sequence[Hashable], state: CatalogState, items: pl.DataFrame) -> list[Hashable]:
    """Return external ids of items to insert; those of deleted items are free again.

    Raises
    ------
    EditError
        An id is of another type than the others, does not fit the column of the table ``items``, is
        given twice, or an item has it.
    """
    plain = [value.item() if isinstance(value, np.generic) else value for value in ids]
    for place, value in enumerate(plain):
        if type(value) is not state.ids.type:
            raise EditError(
                f"new item {place} has an id of another type",
                value=f"{value!r} of type {type(value).__name__}",
                allowed=f"type {state.ids.type.__name__}, as the others",
            )
    as_series("item", plain, items, "an id cannot be stored")
    check_unique(plain)
    rows = state.ids.rows_or_missing(plain)
    known = np.flatnonzero(rows >= 0)
    taken = known[state.leaves_or_gone(rows[known]) >= 0]
    if len(taken):
        raise EditError(
            f"new item {taken[0]} has an id that an item has",
            value=repr(plain[taken[0]]),
            allowed="ids that are not in the catalogue",
            remedy="use replace to give a known item new features",
        )
    return plain


def check_unique(ids: Sequence[Hashable]) -> None:
    """Raise `EditError` where an id is given twice."""
    seen: set[Hashable] = set()
    for value in ids:
        if value in seen:
            raise EditError("an id is given twice", value=repr(value), allowed="every id once")
        seen.add(value)


def existing_rows(ids: Sequence[Hashable], state: CatalogState, where: str) -> Ints:
    """Return the rows ``[n]`` of items to change.

    Raises
    ------
    RequestError
        An id is unknown.
    EditError
        An id is given twice, or its item was deleted.
    """
    rows = state.ids.rows(ids, where)
    check_unique(ids)
    gone = np.flatnonzero(state.leaves_or_gone(rows) < 0)
    if len(gone):
        raise EditError(
            f"{where}: this item was deleted already",
            value=repr(ids[gone[0]]),
            allowed="items of the catalogue",
            remedy="insert it again",
        )
    return rows


def column_values(
    columns: Mapping[str, Sequence[Any]] | None, count: int, items: pl.DataFrame
) -> list[dict[str, Any]]:
    """Return one dictionary of columns per item.

    Raises
    ------
    EditError
        An unknown column, another number of values than items, or values of another type.
    """
    settable = [name for name in items.columns if name not in _MADE and not _is_token(name)]
    values: list[dict[str, Any]] = [{} for _ in range(count)]
    for name, column in (columns or {}).items():
        if name not in settable:
            raise EditError(
                "unknown column", value=repr(name), allowed=", ".join(settable) or "none"
            )
        series = as_series(name, column, items, f"column {name!r} has a value of another type")
        if len(series) != count:
            raise EditError(
                f"column {name!r} and ids differ in number", value=f"{len(series)} and {count}"
            )
        for item, value in zip(values, series.to_list(), strict=True):
            item[name] = value
    return values


def as_series(name: str, values: Sequence[Any], items: pl.DataFrame, wrong: str) -> pl.Series:
    """Return values as more of a column of the items table.

    Raises
    ------
    EditError
        One does not fit the column's type; ``wrong`` says so.
    """
    try:
        return pl.Series(name, list(values), dtype=items[name].dtype)
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError) as error:
        raise EditError(wrong, value=error, allowed=str(items[name].dtype)) from None


def checked_vectors(
    what: str,
    values: NDArray[np.floating[Any]],
    shape: tuple[int, int],
    mask: NDArray[np.bool_] | None = None,
) -> NDArray[np.float32]:
    """Copy numbers ``[n, width]``; rows outside the mask become 0, whatever they hold.

    Raises
    ------
    RequestError
        Not a matrix of numbers, another shape, or not finite.
    """
    try:
        with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused
            array = np.array(values, dtype=np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        raise RequestError(f"{what} is no matrix of numbers", value=error) from None
    if array.shape != shape:
        raise RequestError(
            f"{what} has another shape than the items and the model need",
            value=array.shape,
            allowed=str(shape),
        )
    if mask is not None:
        array[~mask] = 0
    bad = ~np.isfinite(array).all(axis=1)
    if bad.any():
        raise RequestError(
            f"{what} holds NaN or infinity",
            value=f"row {int(bad.argmax())}",
            allowed="finite numbers; rows of items that lack it are masked by `present`",
        )
    return array


def read_payloads(
    catalog: LiveCatalog | FollowedCatalog, base: int, width: int
) -> dict[int, ItemPayload]:
    """Return what a catalogue knows of items, by row; all that came later must be known.

    Raises
    ------
    ArtifactError
        A payload is missing or damaged.
    """
    found = {
        int(row): ItemPayload.from_bytes(content, width)
        for row, content in catalog.payloads.items()
    }
    rows = catalog.snapshot().ids()
    unknown = [row for row in rows[rows >= base].tolist() if row not in found]
    if unknown:
        raise ArtifactError(
            f"{catalog.folder} holds an item that nothing is known of",
            value=f"row {unknown[0]}",
            remedy="restore the folder from a copy",
        )
    return found


def items_table(state: CatalogState, base: pl.DataFrame) -> pl.DataFrame:
    """Return the items table by row, `base` for the first of them.

    ::

        later items: their columns, popularity 0;  tokens as they are now, null for deleted items
    """
    rows = np.arange(state.num_rows)
    later = rows[len(base) :]
    made: dict[str, Any] = {"item": state.ids.ids(later).tolist(), "popularity": [0] * len(later)}
    extra = pl.DataFrame(
        {
            name: made.get(name, [state.columns.get(row, {}).get(name) for row in later.tolist()])
            for name in base.columns
        },
        schema=base.schema,
    )
    leaves = state.leaves_or_gone(rows)
    live = leaves >= 0
    codes = state.catalog.codes(leaves[live])
    tokens = []
    for level in range(codes.shape[1]):
        values = np.zeros(len(rows), np.int32)
        values[live] = codes[:, level]
        name = f"token_{level}"
        tokens.append(pl.when(pl.Series(live)).then(pl.Series(name, values)).alias(name))
    table: pl.DataFrame = pl.concat([base, extra]).with_columns(tokens)
    return table


_MADE = ("item", "popularity")


def _is_token(name: str) -> bool:
    return name.startswith("token_")
