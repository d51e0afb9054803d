"""External ids to internal rows and back; internal rows never leave the engine."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mmgrec_engine.errors import RequestError


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
        self._rows = {value: row for row, value in enumerate(self._ids[:-1])}
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
        for row, value in enumerate(ids, self._count):
            longer._ids[row] = value
            if value is None:
                continue
            if value in self._rows:
                self._earlier[row] = self._rows[value]
            self._rows[value] = row
        return longer

    def rows(self, ids: Sequence[Hashable], where: str) -> NDArray[np.int64]:
        """Return the rows of ids ``[n]``.

        Raises
        ------
        RequestError
            An id is unknown; the message names the first, its place and the type of known ids.
        """
        try:
            rows = np.fromiter(map(self._rows.__getitem__, ids), np.int64, len(ids))
        except (KeyError, TypeError):
            raise self._unknown(ids, where) from None
        if rows.max(initial=-1) >= self._count:
            rows = self._as_of_this_table(rows)
            if rows.min() < 0:
                raise self._unknown(ids, where)
        return rows

    def rows_or_missing(self, ids: Sequence[Hashable]) -> NDArray[np.int64]:
        """Return the rows of ids ``[n]``, -1 where unknown."""
        rows = np.fromiter((self._rows.get(i, -1) for i in ids), np.int64, len(ids))
        return self._as_of_this_table(rows)

    def ids(self, rows: NDArray[np.int64]) -> NDArray[np.object_]:
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

    def _as_of_this_table(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        for i in np.flatnonzero(rows >= self._count):
            row = int(rows[i])
            while row >= self._count:
                row = self._earlier.get(row, -1)
            rows[i] = row
        return rows

    def _unknown(self, ids: Sequence[Hashable], where: str) -> RequestError:
        unknown = next(i for i in ids if not self._knows(i))
        return RequestError(
            f"{where}: unknown {self.kind} id",
            value=repr(unknown),
            allowed=f"one of {len(self)} ids of type {self.type.__name__}, e.g. {self._ids[0]!r}",
            remedy="ids are compared exactly, type included",
        )

    def _knows(self, value: Hashable) -> bool:
        try:
            return bool(self.rows_or_missing([value])[0] >= 0)
        except TypeError:  # unhashable, so it cannot be an id
            return False
