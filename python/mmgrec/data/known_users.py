"""What is known of the users of a data set: their training histories, by user id."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from pathlib import Path

from mmgrec.data.dataset import Dataset, Split
from mmgrec_engine.catalog.ids import IdTable


class KnownUsers:
    """The users of a data set.

    ``ids``: user ids to rows and back. ``item_ids``: of the data set's item rows. ``train``: the
    training history of every user, as item rows, oldest first.
    """

    def __init__(self, dataset: Dataset) -> None:
        self.ids = IdTable("user", dataset.users["user"])
        self.item_ids = dataset.items["item"]
        self.train = dataset.histories(Split.TRAIN)

    @classmethod
    def of_run(cls, run: Path) -> KnownUsers:
        """Read the users of the data that a run was trained on."""
        return cls(Dataset.load(run / "dataset"))

    def histories(self, users: Sequence[Hashable], where: str) -> list[list[Hashable]]:
        """Return the items of each user; `RequestError` names ``where`` where one is unknown."""
        rows = self.ids.rows(users, where).tolist()
        return [self.item_ids[self.train.of(row)].to_list() for row in rows]
