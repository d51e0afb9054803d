"""Requests of many users from arrays of item rows, filters per user included: for batch jobs.

Shapes: B users, E entries of the lists of all users together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmgrec_engine.catalog.filters import RankFilter, RankLists
from mmgrec_engine.catalog.named_filters import NamedFilters
from mmgrec_engine.catalog.state import CatalogState
from mmgrec_engine.decoding.searcher import Request

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class RowLists:
    """Item rows per user: user b has ``rows[offsets[b]:offsets[b + 1]]``.

    ``offsets`` ``[B + 1]``, ``rows`` ``[E]``, both int64.
    """

    offsets: Ints
    rows: Ints

    @property
    def lengths(self) -> Ints:
        """Entries per user ``[B]``."""
        return np.diff(self.offsets)

    @property
    def owners(self) -> Ints:
        """The user of every entry ``[E]``."""
        return np.repeat(np.arange(len(self.offsets) - 1), self.lengths)

    def where(self, keep: NDArray[np.bool_]) -> RowLists:
        """Return the entries ``[E]`` that are to be kept."""
        if keep.all():
            return self
        counts = np.concatenate([[0], np.cumsum(keep)])
        return RowLists(counts[self.offsets], self.rows[keep])

    def of_users(self, users: Ints) -> RowLists:
        """Return the lists of some users ``[b]``, possibly repeated."""
        return self._cut(self.offsets[users], self.lengths[users])

    def last(self, count: int) -> RowLists:
        """Return at most so many entries of every user, the last ones."""
        lengths = np.minimum(self.lengths, count)
        if lengths.sum() == len(self.rows):
            return self
        return self._cut(self.offsets[1:] - lengths, lengths)

    def without_repeats(self) -> RowLists:
        """Return every user's rows once each, in the order of their last mention."""
        key = self.owners * (int(self.rows.max(initial=0)) + 1) + self.rows
        ordered = np.sort(key)
        if not (ordered[1:] == ordered[:-1]).any():
            return self
        keep = np.zeros(len(key), bool)
        keep[len(key) - 1 - np.unique(key[::-1], return_index=True)[1]] = True
        return self.where(keep)

    def joined(self, other: RowLists) -> RowLists:
        """Return every user's rows of both lists."""
        owners = np.concatenate([self.owners, other.owners])
        order = np.argsort(owners, kind="stable")
        rows = np.concatenate([self.rows, other.rows])[order]
        return RowLists(self.offsets + other.offsets, rows)

    def _cut(self, starts: Ints, lengths: Ints) -> RowLists:
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        at = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)
        return RowLists(offsets, self.rows[at])


@dataclass(frozen=True)
class UserBatch:
    """What B users ask for.

    ``histories``: at least one row per user, each once. ``user_rows`` ``[B]`` rows of the model's
    user vectors, -1 for none; None: nobody has one. ``deny``, ``allow``: rows per user;
    ``allow_all`` ``[B]`` uint8: 1 where the allow list does not apply; None: it applies to
    everybody. ``expressions``: named filters; ``expression_of_user`` ``[B]`` int32: which of them
    applies to a user, -1 for none; None: the first, to everybody.
    """

    histories: RowLists
    user_rows: Ints | None = None
    deny: RowLists | None = None
    allow: RowLists | None = None
    allow_all: NDArray[np.uint8] | None = None
    expressions: Sequence[str] = ()
    expression_of_user: NDArray[np.int32] | None = None


def batch_request(
    state: CatalogState,
    named: NamedFilters,
    batch: UserBatch,
    *,
    k: int,
    beam_width: int,
    exclude_seen: bool,
    max_history: int,
) -> Request:
    """Return the request of a batch, in one state of the items.

    ::

        shown   = the last `max_history` rows of each history
        filters = leaves of denied rows and of seen ones; of allowed rows; named sets

    Raises
    ------
    RequestError
        A named filter cannot be read or is unknown.
    """
    shown = batch.histories.last(max_history)
    return Request(
        state.slots_of(shown.rows),
        shown.offsets,
        batch.user_rows,
        _filters(state, named, batch, exclude_seen),
        k,
        beam_width,
    )


def _filters(
    state: CatalogState, named: NamedFilters, batch: UserBatch, exclude_seen: bool
) -> RankFilter | None:
    denied = batch.histories if exclude_seen else None
    if batch.deny is not None:
        denied = batch.deny if denied is None else denied.joined(batch.deny)
    if denied is None and batch.allow is None and not batch.expressions:
        return None
    users = len(batch.histories.offsets) - 1
    if denied is None:
        denied = RowLists(np.zeros(users + 1, np.int64), np.zeros(0, np.int64))
    free, chosen = batch.allow_all, batch.expression_of_user
    if batch.allow is None or free is None:
        free = np.full(users, batch.allow is None, np.uint8)
    if chosen is None:
        chosen = np.zeros(users, np.int32)
    return RankFilter(
        _leaves(state, denied),
        None if batch.allow is None else _leaves(state, batch.allow),
        free,
        tuple(state.named_set(named.resolve(e, state.num_rows)) for e in batch.expressions),
        chosen if batch.expressions else None,
    )


def _leaves(state: CatalogState, lists: RowLists) -> RankLists:
    leaves = RowLists(lists.offsets, state.leaves_or_gone(lists.rows))
    existing = leaves.where(leaves.rows >= 0)
    return RankLists(existing.offsets, existing.rows)
