"""Which items every user has, as one flat array."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Histories:
    """Item rows per user: user u has ``item_rows[offsets[u]:offsets[u + 1]]``.

    ``offsets`` ``[U + 1]`` int64, ``item_rows`` ``[E]`` int32.
    """

    offsets: NDArray[np.int64]
    item_rows: NDArray[np.int32]

    @classmethod
    def of_pairs(
        cls, user_rows: NDArray[np.int32], item_rows: NDArray[np.int32], num_users: int
    ) -> Histories:
        """Group pairs by user; the order of the pairs is kept inside a user."""
        order = np.argsort(user_rows, kind="stable")
        counts = np.bincount(user_rows, minlength=num_users)
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return cls(offsets, item_rows[order].astype(np.int32))

    @property
    def num_users(self) -> int:
        """Number of users, those without items included."""
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Items per user ``[U]``."""
        return np.diff(self.offsets)

    def of(self, user_row: int) -> NDArray[np.int32]:
        """Return one user's item rows."""
        return self.item_rows[self.offsets[user_row] : self.offsets[user_row + 1]]


def spread(rows: NDArray[np.int64], limit: int) -> NDArray[np.int64]:
    """Return at most ``limit`` of the rows, evenly spread (rows are often ordered by activity)."""
    if len(rows) <= limit:
        return rows
    return rows[np.linspace(0, len(rows) - 1, limit).astype(np.int64)]
