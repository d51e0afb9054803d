"""Feature matrices of a modality, from .npy or Parquet, aligned with the items."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mmgrec.data.dataset import Modality, check_features
from mmgrec.data.tables import ITEM_REMEDY, read_table, require_columns
from mmgrec_engine.errors import DataError


def read_matrix(path: Path) -> NDArray[Any]:
    """Read a .npy matrix; one that would need unpickling is refused."""
    try:
        values: NDArray[Any] = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist", remedy="check the path") from None
    except (ValueError, EOFError, OSError) as error:
        raise DataError(
            f"{path} is not a readable .npy matrix",
            value=error,
            remedy="save it with numpy.save as a float16, float32 or float64 array",
        ) from None
    if np.issubdtype(values.dtype, np.integer):
        values = values.astype(np.float32)
    check_features(str(path), values)
    return values


def read_modality(path: Path, items: pl.Series) -> Modality:
    """Read features and align them with the items.

    ::

        .npy:     row = item row; an all-zero row is an item that lacks the modality
        .parquet: column "item" and one list column, or numeric columns; absent items lack it

    Parameters
    ----------
    path : Path
        The file.
    items : polars.Series
        External ids of the catalogue, in row order.

    Raises
    ------
    DataError
        Rows do not match the items, unknown or repeated items, NaN, a type that is no matrix.
    """
    if path.suffix.lower() == ".npy":
        values = read_matrix(path)
        check_features(str(path), values, len(items))
        return modality_of(values)
    if path.suffix.lower() != ".parquet":
        known = ".npy, .parquet"
        raise DataError(
            f"{path}: unknown feature file",
            value=path.suffix or "none",
            allowed=known,
            remedy="save the features in one of these formats",
        )
    table = read_table(path, ("item",))
    require_columns(table, ("item",), path, ITEM_REMEDY)
    return _align(path, table, items)


def modality_of(values: NDArray[Any]) -> Modality:
    """Make a modality of a whole matrix; all-zero rows count as missing."""
    values = values.astype(np.float32)
    return Modality(values, np.asarray((values != 0).any(axis=1)))


def repeated_item(path: Path, item: object) -> DataError:
    """Return the error for a table in which an item occurs twice."""
    return DataError(
        f"{path}: an item occurs twice", value=repr(item), remedy="keep one row per item"
    )


def _align(path: Path, table: pl.DataFrame, items: pl.Series) -> Modality:
    row_of = {item: row for row, item in enumerate(items)}
    unknown = [item for item in table["item"] if item not in row_of]
    if unknown:
        raise DataError(
            f"{path} names {len(unknown)} items that are not in the catalogue",
            value=f"first: {unknown[0]!r}",
            remedy="add them to the items table, or drop these rows",
        )
    repeated = table["item"].is_duplicated()
    if repeated.any():
        raise repeated_item(path, table["item"].filter(repeated)[0])
    matrix = _matrix(path, table.drop("item"))
    check_features(str(path), matrix)
    values = np.zeros((len(items), matrix.shape[1]), np.float32)
    present = np.zeros(len(items), bool)
    rows = np.array([row_of[item] for item in table["item"]])
    values[rows], present[rows] = matrix, True
    return Modality(values, present)


def _matrix(path: Path, columns: pl.DataFrame) -> NDArray[np.float32]:
    if len(columns.columns) == 1 and _holds_lists(columns.to_series().dtype):
        return _stacked(path, columns.to_series())
    if columns.columns and all(c.dtype.is_numeric() for c in columns):
        return columns.to_numpy().astype(np.float32)
    raise DataError(
        f"{path}: no features",
        value=", ".join(columns.columns) or "no column beside item",
        allowed="one column with lists of numbers, or numeric columns only",
        remedy="drop the other columns",
    )


def _holds_lists(dtype: pl.DataType) -> bool:
    if not isinstance(dtype, pl.List | pl.Array):
        return False
    return dtype.inner.is_numeric() or dtype.inner == pl.Boolean


def _stacked(path: Path, lists: pl.Series) -> NDArray[np.float32]:
    if lists.null_count():
        raise DataError(
            f"{path}: {lists.null_count()} items have no list of features",
            remedy="leave the rows of these items out: they then lack the modality",
        )
    widths = lists.list.len().unique().sort() if isinstance(lists.dtype, pl.List) else None
    if widths is not None and len(widths) != 1:
        raise DataError(
            f"{path}: feature lists differ in length",
            value=widths.to_list(),
            remedy="give every item a list of the same length",
        )
    return np.array(lists.to_list(), dtype=np.float32)
