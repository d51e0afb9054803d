"""Prefixes under search as flat arrays, and the best items found so far.

Shapes: B users, P prefixes of all users together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Scores = NDArray[np.float32]

NO_RANK = np.iinfo(np.int64).max
"""Rank of a place that holds no item yet: any item with any score comes before it."""


@dataclass(frozen=True)
class Prefixes:
    """Prefixes of many users, all ``[P]``.

    ``user`` row of the user, ``level`` number of tokens, ``lo`` and ``hi`` leaf range, ``score``
    log-probability. The tokens themselves are those of any leaf in the range.
    """

    user: Ints
    level: Ints
    lo: Ints
    hi: Ints
    score: Scores

    def __len__(self) -> int:
        return len(self.user)

    @classmethod
    def roots(cls, users: int, num_items: int) -> Prefixes:
        """Return the empty prefix, which is the whole catalogue, of every user."""
        zeros = np.zeros(users, np.int64)
        whole = np.full(users, num_items, np.int64)
        return cls(np.arange(users), zeros, zeros, whole, np.zeros(users, np.float32))

    @classmethod
    def join(cls, parts: Sequence[Prefixes]) -> Prefixes:
        """Concatenate at least one part."""
        return cls(
            np.concatenate([part.user for part in parts]),
            np.concatenate([part.level for part in parts]),
            np.concatenate([part.lo for part in parts]),
            np.concatenate([part.hi for part in parts]),
            np.concatenate([part.score for part in parts]),
        )

    def take(self, which: Ints | NDArray[np.bool_] | slice) -> Prefixes:
        """Select by index, mask or slice."""
        return Prefixes(
            self.user[which], self.level[which], self.lo[which], self.hi[which], self.score[which]
        )


class BestItems:
    """The k best items of every user so far, best first; equal scores in leaf order.

    ``ranks`` ``[B, k]``, `NO_RANK` where there is none yet; ``scores`` ``[B, k]``, -inf there.
    """

    def __init__(self, users: int, k: int) -> None:
        self.ranks = np.full((users, k), NO_RANK, np.int64)
        self.scores = np.full((users, k), -np.inf, np.float32)

    def may_change_by(self, prefixes: Prefixes) -> NDArray[np.bool_]:
        """Say for each prefix whether an item below it could still enter its user's best.

        ::

            no item below scores more than the prefix, none has a smaller rank than its first leaf
            so: prefix score > k-th score, or equal and first leaf < k-th rank
        """
        score, rank = self.scores[prefixes.user, -1], self.ranks[prefixes.user, -1]
        equal = (prefixes.score == score) & (prefixes.lo < rank)
        return np.asarray((prefixes.score > score) | equal)

    def add(self, leaves: Prefixes) -> None:
        """Merge prefixes that are single items."""
        leaves = leaves.take(self.may_change_by(leaves))
        if len(leaves) == 0:
            return
        users, k = np.unique(leaves.user), self.ranks.shape[1]
        user = np.concatenate([np.repeat(users, k), leaves.user])
        rank = np.concatenate([self.ranks[users].ravel(), leaves.lo])
        score = np.concatenate([self.scores[users].ravel(), leaves.score])
        kept, place = best_of_each(user, score, rank, np.full(len(self.ranks), k))
        self.ranks[user[kept], place] = rank[kept]
        self.scores[user[kept], place] = score[kept]


def best_of_each(user: Ints, score: Scores, rank: Ints, most: Ints) -> tuple[Ints, Ints]:
    """Pick every user's best entries.

    ::

        sort by user, then higher score, then smaller rank; keep the first most[user] of each user

    Parameters
    ----------
    user, score, rank : array
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
    order = np.lexsort((rank, -score, user))
    place = places(user[order])
    kept = place < most[user[order]]
    return order[kept], place[kept]


def places(groups: Ints) -> Ints:
    """Return each entry's place, from 0, within its group; ``groups`` ``[P]`` is sorted."""
    return np.arange(len(groups)) - np.searchsorted(groups, groups)
