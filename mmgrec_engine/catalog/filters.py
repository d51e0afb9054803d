"""Which items each user of a batch may get, as leaf ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mmgrec_engine import _native
from mmgrec_engine.catalog.denied_ids import DeniedIds
from mmgrec_engine.catalog.leaf_sets import LeafSet
from mmgrec_engine.catalog.searchable import Searchable
from mmgrec_engine.errors import RequestError
from mmgrec_engine.settings import num_threads

Ranks = NDArray[np.int64]


def _first_outside(ranks: Ranks, num_leaves: int) -> int | None:
    """Return where the first rank that is no leaf stands.

    One pass where all are: negative numbers are large ones without a sign.
    """
    if not len(ranks) or int(ranks.view(np.uint64).max()) < num_leaves:
        return None
    return int(np.flatnonzero((ranks < 0) | (ranks >= num_leaves))[0])


@dataclass(frozen=True)
class RankLists:
    """Leaf ranks per user, in any order: user b has ``ranks[offsets[b]:offsets[b + 1]]``.

    In an edited catalogue the ranks of added leaves follow those of the base.
    """

    offsets: Ranks
    ranks: Ranks

    @classmethod
    def of(cls, lists: Sequence[Ranks], num_leaves: int) -> RankLists:
        """Concatenate lists of ranks.

        Raises
        ------
        RequestError
            A rank is no leaf.
        """
        offsets = np.zeros(len(lists) + 1, np.int64)
        np.cumsum([len(ranks) for ranks in lists], out=offsets[1:])
        ranks = np.concatenate(lists) if len(lists) > 1 else lists[0] if lists else offsets[:0]
        ranks = np.ascontiguousarray(ranks, np.int64)
        bad = _first_outside(ranks, num_leaves)
        if bad is not None:
            user = int(np.searchsorted(offsets, bad, side="right")) - 1
            raise RequestError(
                f"the filter of user {user} names a rank that is no item",
                value=int(ranks[bad]),
                allowed=f"0 to {num_leaves - 1}",
            )
        return cls(offsets, ranks)

    def of_user(self, user: int) -> Ranks:
        """Return one user's ranks."""
        return self.ranks[self.offsets[user] : self.offsets[user + 1]]

    def of_users(self, rows: Ranks) -> RankLists:
        """Return the lists of some users, ``rows`` ``[b]``, possibly repeated."""
        begin, length = self.offsets[rows], np.diff(self.offsets)[rows]
        offsets = np.concatenate([[0], np.cumsum(length)])
        at = np.arange(offsets[-1]) + np.repeat(begin - offsets[:-1], length)
        return RankLists(offsets, self.ranks[at])

    def padded(self, more: int) -> RankLists:
        """Return the lists with so many empty ones behind them."""
        return RankLists(np.pad(self.offsets, (0, more), mode="edge"), self.ranks)


def _denied_to_all(ranks: Ranks, num_leaves: int) -> Ranks:
    ranks = np.ascontiguousarray(ranks, np.int64)
    bad = _first_outside(ranks, num_leaves)
    if bad is not None:
        raise RequestError(
            "the deny list of all users names a rank that is no item",
            value=int(ranks[bad]),
            allowed=f"0 to {num_leaves - 1}",
        )
    return ranks


@dataclass(frozen=True)
class NamedSet:
    """The leaves that a named filter lets through, one set per segment of the catalogue."""

    base: LeafSet
    added: LeafSet

    def mask(self) -> NDArray[np.bool_]:
        """Return ``[leaves]``: which leaves the set holds."""
        parts = [part.contains(np.arange(part.size)) for part in (self.base, self.added)]
        return np.concatenate(parts)


@dataclass(frozen=True, eq=False)
class RankFilter:
    """What a batch may get: in the named set, on the allow list, and not on a deny list.

    ``deny``, ``allow``: leaf ranks per user; deny wins where both name an item. ``allow_all``
    ``[B]`` uint8: 1 for users whose allow list does not apply. ``sets``: named sets;
    ``set_of_user`` ``[B]`` int32: which of them applies to a user, -1 for none. ``deny_all``: leaf
    ranks that nobody gets, prepared once and not per user. ``deny_ids``: more of them, by id; for
    searches on the CPU only.
    """

    deny: RankLists
    allow: RankLists | None
    allow_all: NDArray[np.uint8]
    sets: tuple[NamedSet, ...] = ()
    set_of_user: NDArray[np.int32] | None = None
    deny_all: Ranks | None = None
    deny_ids: DeniedIds | None = None
    _prepared: dict[int, tuple[Searchable, _native.Filters]] = field(
        default_factory=dict, repr=False, compare=False
    )

    @classmethod
    def from_lists(
        cls,
        deny: Sequence[Ranks],
        allow: Sequence[Ranks | None] | None,
        num_leaves: int,
        *,
        named: NamedSet | None = None,
        deny_all: Ranks | None = None,
        deny_ids: DeniedIds | None = None,
    ) -> RankFilter:
        """Build filters from one deny list and one allow list (None: everything) per user.

        ``named``, ``deny_all`` and ``deny_ids`` apply to all of them.

        Raises
        ------
        RequestError
            A rank is no leaf.
        """
        sets = () if named is None else (named,)
        set_of_user = None if named is None else np.zeros(len(deny), np.int32)
        denied = RankLists.of(deny, num_leaves)
        if deny_all is not None:
            deny_all = _denied_to_all(deny_all, num_leaves)
        allowed, free = None, np.ones(len(deny), np.uint8)
        if allow is not None:
            nothing = np.zeros(0, np.int64)
            lists = [nothing if ranks is None else ranks for ranks in allow]
            allowed = RankLists.of(lists, num_leaves)
            free = np.array([ranks is None for ranks in allow], np.uint8)
        return cls(denied, allowed, free, sets, set_of_user, deny_all, deny_ids)

    @property
    def num_users(self) -> int:
        """Size of the batch."""
        return len(self.allow_all)

    def of_users(self, rows: Ranks) -> RankFilter:
        """Return the filter of some users, ``rows`` ``[b]``, possibly repeated."""
        return RankFilter(
            self.deny.of_users(rows),
            None if self.allow is None else self.allow.of_users(rows),
            self.allow_all[rows],
            self.sets,
            None if self.set_of_user is None else self.set_of_user[rows],
            self.deny_all,
            self.deny_ids,
        )

    def padded(self, users: int) -> RankFilter:
        """Return the filter of a larger batch, whose further users may get everything."""
        more = users - self.num_users
        if more == 0:
            return self
        return RankFilter(
            self.deny.padded(more),
            None if self.allow is None else self.allow.padded(more),
            np.pad(self.allow_all, (0, more), constant_values=1),
            self.sets,
            None
            if self.set_of_user is None
            else np.pad(self.set_of_user, (0, more), constant_values=-1),
            self.deny_all,
            self.deny_ids,
        )

    def mask(self, user: int, num_leaves: int) -> NDArray[np.bool_]:
        """Return ``[leaves]``: what this user may get (for small catalogues and tests)."""
        allowed = np.ones(num_leaves, bool)
        if self.set_of_user is not None and self.set_of_user[user] >= 0:
            allowed &= self.sets[self.set_of_user[user]].mask()
        if self.allow is not None and not self.allow_all[user]:
            listed = np.zeros(num_leaves, bool)
            listed[self.allow.of_user(user)] = True
            allowed &= listed
        allowed[self.deny.of_user(user)] = False
        if self.deny_all is not None:
            allowed[self.deny_all] = False
        if self.deny_ids is not None:
            allowed &= ~self.deny_ids.mask()
        return allowed

    def prepared(self, catalog: Searchable, threads: int | None = None) -> _native.Filters:
        """Return the form that the search wants; made once per catalogue, then kept.

        ::

            lists are sorted and get a directory, so that "how many below this prefix" is two short
            lookups; bitmaps are taken as they are
        """
        known = self._prepared.get(id(catalog))
        if known is None:
            allow, by_id = self.allow, self.deny_ids
            native = _native.Filters.make(
                catalog.native,
                self.num_users,
                self.deny.offsets,
                self.deny.ranks,
                None if allow is None else allow.offsets,
                None if allow is None else allow.ranks,
                None if allow is None else self.allow_all,
                [(s.base.words, s.base.counts, s.added.words, s.added.counts) for s in self.sets],
                self.set_of_user,
                self.deny_all,
                None if by_id is None else (by_id.words, by_id.base, by_id.added),
                threads=threads or num_threads(),
            )
            # The catalogue is kept as well, so that no other one can take over its id.
            known = self._prepared[id(catalog)] = (catalog, native)
        return known[1]
