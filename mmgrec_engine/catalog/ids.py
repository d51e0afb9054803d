"""External ids to internal rows and back; internal rows never leave the engine."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import islice, repeat
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mmgrec_engine import _native
from mmgrec_engine.errors import RequestError

Ints = NDArray[np.int64]


class IdTable:
    """A column of external ids (integers or strings), row = internal number.

    A table never changes; `grown` makes a longer one that shares its storage.

    Parameters
    ----------
    kind : str
        "item" or "user", for messages.
    ids : polars.Series
        Unique ids.
    """

    def __init__(self, kind: str, ids: pl.Series) -> None:
        self.kind = kind
        self.type: type = type(ids[0]) if len(ids) else str
        self._ids = np.array([*ids.to_list(), None], dtype=object)
        numbers = _as_numbers(ids)
        self._rows: _TextRows | _NumberRows = (
            _TextRows(self._ids[:-1]) if numbers is None else _NumberRows(numbers)
        )
        self._earlier: dict[int, int] = {}  # the row that an id had before it was given again
        self._count = len(ids)

    def __len__(self) -> int:
        return self._count

    def grown(self, ids: Sequence[Hashable]) -> IdTable:
        """Return a table with more rows; only the newest table may grow, by one thread at a time.

        ::

            an id that has a row already gets another; this table keeps finding the earlier one
            None: a row without an id
        """
        longer = object.__new__(IdTable)
        longer.kind, longer.type = self.kind, self.type
        longer._rows, longer._earlier = self._rows, self._earlier
        longer._count = self._count + len(ids)
        longer._ids = self._ids
        if longer._count >= len(self._ids):
            longer._ids = np.full(max(2 * len(self._ids), longer._count + 1), None, object)
            longer._ids[: self._count] = self._ids[: self._count]
        self._rows.make_room(longer._count)
        for row, value in enumerate(ids, self._count):
            longer._ids[row] = value
            if value is None:
                continue
            earlier = int(self._rows.find([value])[0])
            if earlier >= 0:
                self._earlier[row] = earlier
            self._rows.set(value, row)
        return longer

    def rows(self, ids: Sequence[Hashable], where: str) -> Ints:
        """Return the rows of ids ``[n]``: a list, or (fastest, for numbers) an array.

        Raises
        ------
        RequestError
            An id is unknown; the message names the first, its place and the type of known ids.
        """
        rows = self.rows_or_missing(ids)
        if rows.min(initial=0) < 0:
            raise self._unknown(next(islice(ids, int(rows.argmin()), None)), where)
        return rows

    def rows_or_missing(self, ids: Sequence[Hashable]) -> Ints:
        """Return the rows of ids ``[n]``, -1 where unknown."""
        rows = self._rows.find(ids)
        if rows.max(initial=-1) >= self._count:
            self._as_of_this_table(rows)
        return rows

    def bits(self, ids: Sequence[Hashable]) -> NDArray[np.uint64] | None:
        """Return a set of ids as bits, in a fraction of the time that their rows take.

        ::

            bit of an id = id - the least one; words[bit // 64] >> (bit % 64) & 1

        None where rows have to be looked up: ids are no numbers, or far apart; it is neither a
        list of int nor an array; few ids for so many bits, or nearly all; an id is not among those
        that the first of all longer tables had.
        """
        return self._rows.bits(ids)

    def bits_of_rows(self, rows: Ints | slice) -> NDArray[np.uint32]:
        """Return the bits of rows' ids, larger than all others where there is none."""
        return self._rows.bits_of_rows(rows)

    def ids(self, rows: Ints) -> NDArray[np.object_]:
        """Return the ids of rows of any shape; None where the row is -1."""
        found: NDArray[np.object_] = self._ids[rows]
        return found

    def parse(self, text: str) -> Hashable:
        """Read an id typed by a person: an integer where ids are integers."""
        if self.type is not int:
            return text
        try:
            return int(text)
        except ValueError:
            raise RequestError(
                f"not a {self.kind} id", value=repr(text), allowed="an integer"
            ) from None

    def _as_of_this_table(self, rows: Ints) -> None:
        for i in np.flatnonzero(rows >= self._count):
            row = int(rows[i])
            while row >= self._count:
                row = self._earlier.get(row, -1)
            rows[i] = row

    def _unknown(self, value: object, where: str) -> RequestError:
        return RequestError(
            f"{where}: unknown {self.kind} id",
            value=repr(value),
            allowed=f"one of {len(self)} ids of type {self.type.__name__}, e.g. {self._ids[0]!r}",
            remedy="ids are compared exactly, type included",
        )


class _NumberRows:
    """Rows of integer ids: an array, not a dictionary, so that lists of thousands cost little."""

    def __init__(self, ids: Ints) -> None:
        self._map = _native.IdMap(ids)
        self._bits = self._map.bit_of_each(ids)  # by row

    def make_room(self, count: int) -> None:
        known = len(self._bits)
        if count > known:
            more = np.full(max(known, count - known), _NO_BIT, np.uint32)
            self._bits = np.concatenate([self._bits, more])

    def set(self, value: Any, row: int) -> None:  # noqa: ANN401
        self._map.set(value, row)
        self._bits[row] = self._map.bit_of_each(np.array([value], np.int64))[0]

    def find(self, ids: Sequence[Hashable] | NDArray[Any]) -> Ints:
        if isinstance(ids, np.ndarray):
            if _are_numbers(ids):
                return self._map.find_array(np.ascontiguousarray(ids, np.int64))
            ids = ids.tolist()
        return self._map.find_list(ids if type(ids) is list else list(ids))

    def bits(self, ids: Sequence[Hashable] | NDArray[Any]) -> NDArray[np.uint64] | None:
        if isinstance(ids, np.ndarray) and _are_numbers(ids):
            return self._map.bits_of_array(np.ascontiguousarray(ids, np.int64))
        return self._map.bits_of_list(ids) if type(ids) is list else None

    def bits_of_rows(self, rows: Ints | slice) -> NDArray[np.uint32]:
        return self._bits[rows]


class _TextRows:
    """Rows of ids of any other type, in a dictionary."""

    def __init__(self, ids: NDArray[np.object_]) -> None:
        self._rows = {value: row for row, value in enumerate(ids)}

    def make_room(self, _count: int) -> None:
        pass

    def set(self, value: Hashable, row: int) -> None:
        self._rows[value] = row

    def find(self, ids: Sequence[Hashable]) -> Ints:
        try:
            return np.fromiter(map(self._rows.get, ids, repeat(-1)), np.int64, len(ids))
        except TypeError:  # one of them cannot be hashed, so it is no id
            return np.array([self._find_one(value) for value in ids], np.int64)

    def bits(self, _ids: Sequence[Hashable]) -> None:
        return None

    def bits_of_rows(self, _rows: Ints | slice) -> NDArray[np.uint32]:
        return np.zeros(0, np.uint32)  # nobody asks for them

    def _find_one(self, value: Hashable) -> int:
        try:
            return self._rows.get(value, -1)
        except TypeError:
            return -1


def _are_numbers(ids: NDArray[Any]) -> bool:
    return ids.dtype.kind == "i" and ids.ndim == 1


_NO_BIT = np.uint32(2**32 - 1)
_NUMBERS = (pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32)


def _as_numbers(ids: pl.Series) -> Ints | None:
    """Return integer ids as an array; nothing where a later one may not fit into 64 bits."""
    return ids.cast(pl.Int64).to_numpy() if len(ids) and ids.dtype in _NUMBERS else None
