"""Ids in Arrow columns to rows and back, whole columns at a time.

Shapes: B users, E entries of a column of lists.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mmgrec.data.known_users import KnownUsers
from mmgrec_engine.batch_requests import RowLists
from mmgrec_engine.catalog.ids import IdTable

Ints = NDArray[np.int64]


def rows_of(table: IdTable, values: pa.Array) -> Ints:
    """Return the rows of ids, -1 where unknown or null.

    ::

        Arrow numbers the distinct ids; only these go through Python, once each
    """
    if pa.types.is_null(values.type):
        return np.full(len(values), -1, np.int64)
    encoded = values if pa.types.is_dictionary(values.type) else values.dictionary_encode()
    known = table.rows_or_missing(encoded.dictionary.to_pylist())
    numbers = pc.fill_null(encoded.indices.cast(pa.int64()), len(known))
    rows: Ints = np.append(known, -1)[numbers.to_numpy(zero_copy_only=False)]
    return rows


def lists_of(column: pa.Array) -> tuple[pa.Array, Ints, NDArray[np.bool_]]:
    """Return the values ``[E]`` of a column of lists, their offsets and where it is null ``[B]``.

    A null list has no values.
    """
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    offsets = np.zeros(len(column) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return column.flatten(), offsets, column.is_null().to_numpy(zero_copy_only=False)


def array_of(column: pa.ChunkedArray) -> pa.Array:
    """Return a column in one piece."""
    joined = column.combine_chunks()
    if isinstance(joined, pa.ChunkedArray):  # what older versions return for some types
        joined = joined.chunk(0) if joined.num_chunks else pa.array([], joined.type)
    return joined


class UserRows:
    """Training items of known users as rows of an engine, whose item ids are given."""

    def __init__(self, known: KnownUsers, item_ids: IdTable) -> None:
        self.ids, train = known.ids, known.train
        rows = item_ids.rows(known.item_ids.to_list(), "the run's data set")
        self._lists = RowLists(train.offsets, rows[train.item_rows])

    def histories(self, users: Ints) -> RowLists:
        """Return the training items of users, nothing where the row is -1."""
        known = self._lists.of_users(np.maximum(users, 0))
        return known.where(users[known.owners] >= 0)
