"""A table of users to what the engine searches for; what is wrong with a row, row by row.

Shapes: B users.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmgrec.scoring.ids import UserRows, array_of, lists_of, rows_of
from mmgrec_engine.batch_requests import RowLists, UserBatch
from mmgrec_engine.catalog.ids import IdTable
from mmgrec_engine.errors import RequestError

Ints = NDArray[np.int64]


class Faults:
    """What is wrong with the rows of a table: the first thing of each.

    ``dropped``: unknown ids that were left out of lists, where that was asked for.
    """

    def __init__(self) -> None:
        self.reasons: dict[int, str] = {}
        self.dropped = 0

    def note(self, rows: Ints, reason: Callable[[int], str]) -> None:
        """Say of rows of the table what is wrong; ``reason`` gets the place in ``rows``."""
        for place, row in enumerate(rows.tolist()):
            if row not in self.reasons:
                self.reasons[row] = reason(place)


class TableReader:
    """Turns tables of users into batches of rows.

    Parameters
    ----------
    item_ids : IdTable
        Of the state of the items that will be searched.
    vector_ids : IdTable or None
        Users with a vector in the model.
    known : UserRows or None
        For tables without histories.
    drop_unknown : bool
        Leave unknown items out of lists.
    where : str or None
        Named filters for rows without an expression.
    check : callable
        Raises `RequestError` for an expression that cannot be resolved.
    """

    def __init__(
        self,
        item_ids: IdTable,
        vector_ids: IdTable | None,
        known: UserRows | None,
        *,
        drop_unknown: bool,
        where: str | None,
        check: Callable[[str], object],
    ) -> None:
        self._items, self._vectors, self._known = item_ids, vector_ids, known
        self._drop, self._where, self._check = drop_unknown, where, check

    def read(self, table: pa.Table) -> tuple[UserBatch, Faults]:
        """Return the batch; its rows with faults must not be searched."""
        faults = Faults()
        users = array_of(table["user"]) if "user" in table.column_names else None
        if users is not None:
            faults.note(_true(users.is_null()), lambda _: "the user is null")
        histories = self._histories(table, users, faults)
        faults.note(np.flatnonzero(histories.lengths == 0), lambda _: "the history is empty")
        deny, _ = self._lists(table, "deny", faults)
        allow, no_allow = self._lists(table, "allow", faults)
        expressions, of_user = self._expressions(table, faults)
        vectors = None
        if users is not None and self._vectors is not None:
            vectors = rows_of(self._vectors, users)
        return UserBatch(histories, vectors, deny, allow, no_allow, expressions, of_user), faults

    def _histories(self, table: pa.Table, users: pa.Array | None, faults: Faults) -> RowLists:
        if "history" in table.column_names:
            lists, _ = self._lists(table, "history", faults)
            assert lists is not None
            return lists.without_repeats()
        assert users is not None  # `known_columns` has seen one of them
        assert self._known is not None
        rows = rows_of(self._known.ids, users)
        unknown = np.flatnonzero(rows < 0)
        faults.note(unknown, lambda i: f"unknown user id {users[unknown[i]].as_py()!r}")
        return self._known.histories(rows)

    def _lists(
        self, table: pa.Table, name: str, faults: Faults
    ) -> tuple[RowLists | None, NDArray[np.uint8] | None]:
        """Return a column's rows, unknown ids left out, and where it is null."""
        if name not in table.column_names:
            return None, None
        values, offsets, missing = lists_of(array_of(table[name]))
        lists = RowLists(offsets, rows_of(self._items, values))
        unknown = np.flatnonzero(lists.rows < 0)
        if self._drop:
            faults.dropped += len(unknown)
        elif len(unknown):
            faults.note(
                lists.owners[unknown],
                lambda i: f"unknown item id {values[unknown[i]].as_py()!r} in {name!r}",
            )
        return lists.where(lists.rows >= 0), missing.astype(np.uint8)

    def _expressions(
        self, table: pa.Table, faults: Faults
    ) -> tuple[list[str], NDArray[np.int32] | None]:
        default = [] if self._where is None else [self._where]
        if "where" not in table.column_names:
            return default, np.zeros(len(table), np.int32) if default else None
        column = array_of(table["where"])
        if pa.types.is_dictionary(column.type):  # which may hold texts that no row has
            column = column.dictionary_decode()
        column = column.dictionary_encode()
        written = column.dictionary.to_pylist()
        numbers = column.indices.cast(pa.int64()).fill_null(-1).to_numpy().astype(np.int32)
        for number, expression in enumerate(written):
            self._note_expression(np.flatnonzero(numbers == number), expression, faults)
        if default:
            numbers[numbers < 0] = len(written)
        return [*written, *default], numbers

    def _note_expression(self, rows: Ints, expression: str, faults: Faults) -> None:
        try:
            self._check(expression)
        except RequestError as error:
            what = f"{error.what} {error.value}" if error.value else error.what
            faults.note(rows, lambda _: what)


def _true(mask: pa.Array) -> Ints:
    return np.flatnonzero(mask.to_numpy(zero_copy_only=False))
