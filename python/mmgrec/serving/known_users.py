"""What is known of the users of the training data: their histories, as item ids."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from mmgrec.data.dataset import KIND, Dataset, Split
from mmgrec.serving.problems import Problem, not_found
from mmgrec_engine.artifact import folder_exists
from mmgrec_engine.catalog.ids import IdTable
from mmgrec_engine.errors import RequestError


class KnownUsers:
    """Users and their training histories, from the data set that a run keeps (or does not)."""

    def __init__(self, folder: Path) -> None:
        self._ids: IdTable | None = None
        if folder_exists(folder, KIND):
            dataset = Dataset.load(folder)
            self._ids = IdTable("user", dataset.users["user"])
            self._items = dataset.items["item"]
            self._histories = dataset.histories(Split.TRAIN)

    def __len__(self) -> int:
        return 0 if self._ids is None else len(self._ids)

    @property
    def id_type(self) -> type:
        """Of user ids."""
        return str if self._ids is None else self._ids.type

    def parse(self, text: str) -> Hashable:
        """Read an id typed by a person; `RequestError` where it cannot be one."""
        return text if self._ids is None else self._ids.parse(text)

    def search(self, text: str, most: int) -> list[tuple[Hashable, int]]:
        """Return users whose ids begin with a text, and the length of their histories."""
        if self._ids is None:
            return []
        ids = pl.Series(self._ids.ids(np.arange(len(self._ids))).tolist()).cast(pl.String)
        rows = ids.str.starts_with(text).arg_true().to_numpy()
        # The id itself comes first, then short ones, so that 1 is found before 10 and 100.
        rows = rows[np.argsort(ids[rows].str.len_chars(), kind="stable")][:most].astype(np.int64)
        users = self._ids.ids(rows).tolist()
        return [(user, len(self._histories.of(row))) for user, row in zip(users, rows, strict=True)]

    def histories(self, users: Sequence[Hashable]) -> list[list[Hashable]]:
        """Return the items of each user, oldest first.

        Raises
        ------
        Problem
            404 where a user is unknown.
        """
        if self._ids is None:
            raise Problem(
                404, "no users are known: the run has no data set", remedy="send histories"
            )
        try:
            rows = self._ids.rows(users, "users").tolist()
        except RequestError as error:
            remedy = "send a history for users that the model was not trained on"
            raise not_found(error, remedy) from None
        return [self._items[self._histories.of(row)].to_list() for row in rows]
