"""Which items each user of a batch may get, as leaf ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmgrec_engine.errors import RequestError

Ranks = NDArray[np.int64]


@dataclass(frozen=True)
class RankLists:
    """Sorted unique ranks per user: user b has ``ranks[offsets[b]:offsets[b + 1]]``."""

    offsets: Ranks
    ranks: Ranks

    @classmethod
    def of(cls, lists: Sequence[Ranks], num_items: int) -> RankLists:
        """Sort, deduplicate and concatenate lists of ranks.

        Raises
        ------
        RequestError
            A rank is no leaf.
        """
        unique = [np.unique(np.asarray(ranks, dtype=np.int64)) for ranks in lists]
        for user, ranks in enumerate(unique):
            if len(ranks) and (ranks[0] < 0 or ranks[-1] >= num_items):
                raise RequestError(
                    f"the filter of user {user} names a rank that is no item",
                    value=int(ranks[0] if ranks[0] < 0 else ranks[-1]),
                    allowed=f"0 to {num_items - 1}",
                )
        offsets = np.cumsum([0, *(len(ranks) for ranks in unique)], dtype=np.int64)
        return cls(offsets, np.concatenate([*unique, np.zeros(0, np.int64)]))

    def of_user(self, user: int) -> Ranks:
        """Return one user's ranks."""
        return self.ranks[self.offsets[user] : self.offsets[user + 1]]

    def of_users(self, rows: Ranks) -> RankLists:
        """Return the lists of some users, ``rows`` ``[b]``, possibly repeated."""
        begin, length = self.offsets[rows], np.diff(self.offsets)[rows]
        offsets = np.concatenate([[0], np.cumsum(length)])
        at = np.arange(offsets[-1]) + np.repeat(begin - offsets[:-1], length)
        return RankLists(offsets, self.ranks[at])


@dataclass(frozen=True)
class RankFilter:
    """Denied ranks per user, and optionally allowed ranks (deny wins where both name an item).

    ``allow_all`` ``[B]`` uint8: 1 for users whose allow list does not apply.
    """

    deny: RankLists
    allow: RankLists | None
    allow_all: NDArray[np.uint8]

    @classmethod
    def from_lists(
        cls, deny: Sequence[Ranks], allow: Sequence[Ranks | None] | None, num_items: int
    ) -> RankFilter:
        """Build a filter from one deny list and one allow list (None: everything) per user."""
        if allow is None:
            return cls(RankLists.of(deny, num_items), None, np.ones(len(deny), np.uint8))
        nothing = np.zeros(0, np.int64)
        lists = [nothing if ranks is None else ranks for ranks in allow]
        free = np.array([ranks is None for ranks in allow], np.uint8)
        return cls(RankLists.of(deny, num_items), RankLists.of(lists, num_items), free)

    def of_users(self, rows: Ranks) -> RankFilter:
        """Return the filter of some users, ``rows`` ``[b]``, possibly repeated."""
        allow = None if self.allow is None else self.allow.of_users(rows)
        return RankFilter(self.deny.of_users(rows), allow, self.allow_all[rows])

    def mask(self, user: int, num_items: int) -> NDArray[np.bool_]:
        """Return ``[N]``: which leaves this user may get (for small catalogues and tests)."""
        allowed = np.ones(num_items, bool)
        if self.allow is not None and not self.allow_all[user]:
            allowed[:] = False
            allowed[self.allow.of_user(user)] = True
        allowed[self.deny.of_user(user)] = False
        return allowed
