"""External ids to internal rows and back; internal rows never leave the engine."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mmgrec_engine.errors import RequestError


class IdTable:
    """A column of external ids (integers or strings), row = internal number.

    Parameters
    ----------
    kind : str
        "item" or "user", for messages.
    ids : polars.Series
        Unique ids.
    """

    def __init__(self, kind: str, ids: pl.Series) -> None:
        self.kind = kind
        self._ids = np.array([*ids.to_list(), None], dtype=object)
        self._rows = {value: row for row, value in enumerate(self._ids[:-1])}

    def __len__(self) -> int:
        return len(self._rows)

    def rows(self, ids: Sequence[Hashable], where: str) -> NDArray[np.int64]:
        """Return the rows of ids ``[n]``.

        Raises
        ------
        RequestError
            An id is unknown; the message names the first, its place and the type of known ids.
        """
        try:
            return np.fromiter((self._rows[i] for i in ids), np.int64, len(ids))
        except (KeyError, TypeError):
            unknown = next(i for i in ids if not _known(self._rows, i))
            raise RequestError(
                f"{where}: unknown {self.kind} id",
                value=repr(unknown),
                allowed=f"one of {len(self)} ids of type {self._type()}, e.g. {self._ids[0]!r}",
                remedy="ids are compared exactly, type included",
            ) from None

    def rows_or_missing(self, ids: Sequence[Hashable]) -> NDArray[np.int64]:
        """Return the rows of ids ``[n]``, -1 where unknown."""
        return np.fromiter((self._rows.get(i, -1) for i in ids), np.int64, len(ids))

    def ids(self, rows: NDArray[np.int64]) -> NDArray[np.object_]:
        """Return the ids of rows of any shape; None where the row is -1."""
        found: NDArray[np.object_] = self._ids[rows]
        return found

    def parse(self, text: str) -> Hashable:
        """Read an id typed by a person: an integer where ids are integers."""
        if self._type() != "int":
            return text
        try:
            return int(text)
        except ValueError:
            raise RequestError(
                f"not a {self.kind} id", value=repr(text), allowed="an integer"
            ) from None

    def _type(self) -> str:
        return type(self._ids[0]).__name__


def _known(rows: dict[Hashable, int], value: object) -> bool:
    try:
        return value in rows
    except TypeError:  # unhashable, so it cannot be an id
        return False
