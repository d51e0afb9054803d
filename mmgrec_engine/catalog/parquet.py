"""A trie from a Parquet file, a batch of rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mmgrec_engine.catalog.trie import Trie, TrieBuilder
from mmgrec_engine.errors import DataError


def build_from_parquet(
    path: Path,
    columns: Sequence[str],
    level_sizes: Sequence[int],
    *,
    batch_rows: int = 1 << 20,
    advance: Callable[[int], None] | None = None,
    threads: int | None = None,
) -> tuple[Trie, NDArray[np.uint32]]:
    """Sort the Rec-IDs of a table into a trie, without ever holding the table.

    ::

        for batch in file: builder.add(batch); advance(rows of the batch)
        order = rows of the file sorted by tuple

    Parameters
    ----------
    path : Path
        A Parquet file.
    columns : sequence of str
        One integer column (of any width) per level, or one column of fixed-size lists of integers.
    level_sizes : sequence of int
        Tokens per level.
    batch_rows : int
        Rows read at a time.
    advance : callable, optional
        Called with the number of rows read since the last call, to report progress.
    threads : int, optional
        Threads of the sort; by default `settings.num_threads`.

    Returns
    -------
    trie : Trie
        The trie.
    order : array
        ``[N]`` uint32, the row of each leaf.

    Raises
    ------
    DataError
        No such file or column, a column that is not of integers, a null, a token outside its level,
        two rows with one Rec-ID.
    """
    builder = TrieBuilder(level_sizes)
    for codes in _batches(path, columns, len(level_sizes), batch_rows):
        builder.add(codes)
        if advance is not None:
            advance(len(codes))
    return builder.finish(threads=threads)


def _batches(
    path: Path, columns: Sequence[str], levels: int, batch_rows: int
) -> Iterator[NDArray[np.integer[Any]]]:
    """Yield ``[n, T]`` codes."""
    rows = 0
    try:
        with pq.ParquetFile(path) as file:
            _check_columns(path, file.schema_arrow, columns, levels)
            for batch in file.iter_batches(batch_rows, columns=list(columns)):
                yield _codes(path, batch, columns, rows)
                rows += batch.num_rows
    except (OSError, pa.ArrowException) as error:
        raise DataError(
            f"cannot read {path}", value=error, allowed="a Parquet file of tokens"
        ) from None


def _check_columns(path: Path, schema: pa.Schema, columns: Sequence[str], levels: int) -> None:
    for name in columns:
        if schema.names.count(name) != 1:
            raise DataError(
                f"{path} has no column {name!r}"
                if name not in schema.names
                else f"{path} has several columns {name!r}",
                allowed=", ".join(schema.names),
                remedy="name the columns of the Rec-ID, one per level or one of lists",
            )
    types = [schema.field(name).type for name in columns]
    if len(columns) == 1 and pa.types.is_fixed_size_list(types[0]):
        width, types = types[0].list_size, [types[0].value_type]
    else:
        width = len(columns)
    for name, found in zip(columns, types, strict=True):
        if not pa.types.is_integer(found):
            raise DataError(
                f"{path}: column {name!r} does not hold tokens",
                value=found,
                allowed="integers, or a single column of fixed-size lists of integers",
                remedy="cast the column",
            )
    if width != levels:
        raise DataError(
            f"{path}: the columns do not fit the levels",
            value=f"{width} tokens per row",
            allowed=f"{levels}, one per level",
        )


def _codes(
    path: Path, batch: pa.RecordBatch, columns: Sequence[str], rows_before: int
) -> NDArray[np.integer[Any]]:
    """Return a batch as ``[n, T]``."""
    arrays = [batch.column(name) for name in columns]
    for name, array in zip(columns, arrays, strict=True):
        _check_nulls(path, name, array, 1, rows_before)
    if pa.types.is_fixed_size_list(arrays[0].type):
        width = arrays[0].type.list_size
        values = arrays[0].flatten()
        _check_nulls(path, columns[0], values, width, rows_before)
        tokens: NDArray[np.integer[Any]] = values.to_numpy().reshape(-1, width)
        return tokens
    # NumPy would stack uint64 and signed columns as floats.
    signed = [
        array.cast(pa.int64()) if pa.types.is_uint64(array.type) else array for array in arrays
    ]
    return np.column_stack([array.to_numpy() for array in signed])


def _check_nulls(path: Path, name: str, array: pa.Array, per_row: int, rows_before: int) -> None:
    if array.null_count == 0:
        return
    first = int(np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False))[0])
    raise DataError(
        f"{path}: column {name!r} has a null",
        value=f"row {rows_before + first // per_row}",
        allowed="a token for every item",
        remedy="drop the items that have no Rec-ID, or assign them one",
    )
