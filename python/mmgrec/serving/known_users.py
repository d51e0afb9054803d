"""Known users as the server is asked for them: it may know none."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from mmgrec.data.dataset import KIND
from mmgrec.data.known_users import KnownUsers
from mmgrec.serving.problems import Problem, not_found
from mmgrec_engine.artifact import folder_exists
from mmgrec_engine.errors import RequestError


class ServedUsers:
    """Users and their training histories, from the data set that a run keeps (or does not)."""

    def __init__(self, run: Path) -> None:
        there = folder_exists(run / "dataset", KIND)
        self._known = KnownUsers.of_run(run) if there else None

    def __len__(self) -> int:
        return 0 if self._known is None else len(self._known.ids)

    @property
    def id_type(self) -> type:
        """Of user ids."""
        return str if self._known is None else self._known.ids.type

    def parse(self, text: str) -> Hashable:
        """Read an id typed by a person; `RequestError` where it cannot be one."""
        return text if self._known is None else self._known.ids.parse(text)

    def search(self, text: str, most: int) -> list[tuple[Hashable, int]]:
        """Return users whose ids begin with a text, and the length of their histories."""
        if self._known is None:
            return []
        table, train = self._known.ids, self._known.train
        ids = pl.Series(table.ids(np.arange(len(table))).tolist()).cast(pl.String)
        rows = ids.str.starts_with(text).arg_true().to_numpy()
        # The id itself comes first, then short ones, so that 1 is found before 10 and 100.
        rows = rows[np.argsort(ids[rows].str.len_chars(), kind="stable")][:most].astype(np.int64)
        users = table.ids(rows).tolist()
        return [(user, len(train.of(row))) for user, row in zip(users, rows, strict=True)]

    def histories(self, users: Sequence[Hashable]) -> list[list[Hashable]]:
        """Return the items of each user, oldest first.

        Raises
        ------
        Problem
            404 where a user is unknown.
        """
        if self._known is None:
            raise Problem(
                404, "no users are known: the run has no data set", remedy="send histories"
            )
        try:
            return self._known.histories(users, "users")
        except RequestError as error:
            remedy = "send a history for users that the model was not trained on"
            raise not_found(error, remedy) from None
