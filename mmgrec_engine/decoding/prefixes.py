"""Prefixes under search as flat arrays, and the best items found so far.

Shapes: B users, P prefixes of all users together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Scores = NDArray[np.float32]
T = TypeVar("T", bound=np.generic)

NO_PLACE = np.iinfo(np.int64).max
"""Place of an item that is not found yet: any item with any score comes before it."""


@dataclass(frozen=True)
class Prefixes:
    """Prefixes of many users, all ``[P]``.

    ``user`` row of the user, ``level`` number of tokens, ``ranges`` ``[P, 4]`` base leaves from and
    to, added leaves from and to, ``score`` log-probability. The tokens themselves are those of any
    leaf in the ranges.
    """

    user: Ints
    level: Ints
    ranges: Ints
    score: Scores

    def __len__(self) -> int:
        return len(self.user)

    @classmethod
    def roots(cls, users: int, whole: Sequence[int]) -> Prefixes:
        """Return the empty prefix, which is the ``whole`` catalogue, of every user."""
        ranges = np.tile(np.array(whole, np.int64), (users, 1))
        return cls(np.arange(users), np.zeros(users, np.int64), ranges, np.zeros(users, np.float32))

    @classmethod
    def join(cls, parts: Sequence[Prefixes]) -> Prefixes:
        """Concatenate at least one part."""
        return cls(
            np.concatenate([part.user for part in parts]),
            np.concatenate([part.level for part in parts]),
            np.concatenate([part.ranges for part in parts]),
            np.concatenate([part.score for part in parts]),
        )

    def take(self, which: Ints | NDArray[np.bool_] | slice) -> Prefixes:
        """Select by index, mask or slice."""
        return Prefixes(self.user[which], self.level[which], self.ranges[which], self.score[which])

    @property
    def num_leaves(self) -> Ints:
        """``[P]``: leaves below, removed ones included."""
        return self.ranges[:, 1] - self.ranges[:, 0] + self.ranges[:, 3] - self.ranges[:, 2]

    @property
    def place(self) -> Ints:
        """``[P]``: number of leaves before the first one, in the order of all Rec-IDs."""
        return self.ranges[:, 0] + self.ranges[:, 2]

    def leaf(self, base_leaves: int) -> Ints:
        """Return ``[P]``: a leaf below, added ones numbered after the base.

        Where a single item has a leaf in both segments, the one in the base is gone.
        """
        in_added = self.ranges[:, 3] > self.ranges[:, 2]
        return np.where(in_added, base_leaves + self.ranges[:, 2], self.ranges[:, 0])


@dataclass(frozen=True)
class Rows:
    """Prefixes of many users laid out as ``[R, M]``, every row of one user; the rest is padding.

    ``users`` ``[R]``: whose row it is. ``row`` and ``column`` ``[P]``: where a prefix is; rows
    ascend. ``width``: M.
    """

    users: Ints
    row: Ints
    column: Ints
    width: int

    @classmethod
    def of(cls, user: Ints, most: int) -> Rows:
        """Lay out prefixes of ``user`` ``[P]``, grouped by user, at most so many in a row."""
        column = places(user) % most
        first = column == 0
        return cls(user[first], np.cumsum(first) - 1, column, int(column.max(initial=-1)) + 1)

    def cut(self, begin: int, end: int) -> tuple[slice, Rows]:
        """Return the prefixes of some rows, as a slice, and their layout."""
        part = slice(*np.searchsorted(self.row, [begin, end]))
        row, column = self.row[part] - begin, self.column[part]
        return part, Rows(self.users[begin:end], row, column, int(column.max(initial=-1)) + 1)

    def padded(self, values: NDArray[T]) -> NDArray[T]:
        """Lay values ``[P, ...]`` out as ``[R, M, ...]``, zeros between them."""
        laid = np.zeros((len(self.users), self.width, *values.shape[1:]), values.dtype)
        laid[self.row, self.column] = values
        return laid


class BestItems:
    """The k best items of every user so far, best first; equal scores in the order of Rec-IDs.

    ``places`` ``[B, k]`` among all Rec-IDs, `NO_PLACE` where there is none yet; ``leaves``
    ``[B, k]``, -1 there; ``scores`` ``[B, k]``, -inf there.
    """

    def __init__(self, users: int, k: int) -> None:
        self.places = np.full((users, k), NO_PLACE, np.int64)
        self.leaves = np.full((users, k), -1, np.int64)
        self.scores = np.full((users, k), -np.inf, np.float32)

    def may_change_by(self, prefixes: Prefixes) -> NDArray[np.bool_]:
        """Say for each prefix whether an item below it could still enter its user's best.

        ::

            no item below scores more than the prefix, none has a place before its first leaf's
            so: prefix score > k-th score, or equal and its place < k-th place
        """
        score, place = self.scores[prefixes.user, -1], self.places[prefixes.user, -1]
        equal = (prefixes.score == score) & (prefixes.place < place)
        return np.asarray((prefixes.score > score) | equal)

    def add(self, items: Prefixes, base_leaves: int) -> None:
        """Merge prefixes that are single items."""
        items = items.take(self.may_change_by(items))
        if len(items) == 0:
            return
        users, k = np.unique(items.user), self.places.shape[1]
        user = np.concatenate([np.repeat(users, k), items.user])
        place = np.concatenate([self.places[users].ravel(), items.place])
        leaf = np.concatenate([self.leaves[users].ravel(), items.leaf(base_leaves)])
        score = np.concatenate([self.scores[users].ravel(), items.score])
        kept, at = best_of_each(user, score, place, np.full(len(self.places), k))
        self.places[user[kept], at] = place[kept]
        self.leaves[user[kept], at] = leaf[kept]
        self.scores[user[kept], at] = score[kept]


def best_of_each(user: Ints, score: Scores, order: Ints, most: Ints) -> tuple[Ints, Ints]:
    """Pick every user's best entries.

    ::

        sort by user, then higher score, then smaller order; keep the first most[user] of each user

    Parameters
    ----------
    user, score, order : array
        ``[P]``.
    most : array
        ``[B]``: entries to keep per user.

    Returns
    -------
    index : array
        ``[p]`` into the entries, grouped by user in ascending order, best first.
    place : array
        ``[p]`` from 0 within each user.
    """
    ranked = np.lexsort((order, -score, user))
    place = places(user[ranked])
    kept = place < most[user[ranked]]
    return ranked[kept], place[kept]


def places(groups: Ints) -> Ints:
    """Return each entry's place, from 0, within its group; ``groups`` ``[P]`` is sorted."""
    return np.arange(len(groups)) - np.searchsorted(groups, groups)
