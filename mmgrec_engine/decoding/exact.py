"""Exact search: the true k best items of the whole catalogue, by branch and bound over prefixes.

Shapes: B users, P prefixes, K columns of a level, R rows of one call (a user with many prefixes has
several), M prefixes of a row, W children of a row.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mmgrec_engine.catalog.searchable import Searchable
from mmgrec_engine.decoding.prefixes import BestItems, Ints, Prefixes, Rows, Scores, best_of_each
from mmgrec_engine.decoding.searcher import SearchResult

EXACT_LIMIT = 20_000
"""Decoded prefixes per user after which a search gives up proving, by default."""

ROUND_WIDTH = 32
"""Prefixes of a user that are decoded together once the first pass is over: more make fewer and
fuller decoder calls, fewer waste less on prefixes that the next k-th score would have ruled out."""

ROW_WIDTH = 16
"""Most prefixes of a row. Users differ in how many they have left, and rows are padded."""

CALL_CELLS = 1 << 22
"""Most numbers of one call's logits and children together; bounds memory at about 100 MB."""


class Expander(Protocol):
    """A model, the encoded users of a request, and the catalogue and filters to search under."""

    @property
    def catalog(self) -> Searchable:
        """Where prefixes lead."""

    @property
    def num_users(self) -> int:
        """B."""

    @property
    def softmax_over_level(self) -> bool:
        """Whether a token with one choice may still cost something (normalise "full")."""

    def expand(
        self, level: int, parents: Prefixes, tokens: Ints, rows: Rows, width: int
    ) -> tuple[Scores, Ints]:
        """Decode prefixes of ``level`` tokens and find all of their children.

        Parameters
        ----------
        level : int
            t.
        parents : Prefixes
            P of them.
        tokens : array
            ``[P, t]``.
        rows : Rows
            How they are laid out for `constrained_topk`.
        width : int
            Most children of a row: W.

        Returns
        -------
        scores : array
            ``[R, W]``, -inf where there is no child.
        ranges : array
            ``[R, W, 4]`` as of `Prefixes`.
        """


def exact_search(
    expander: Expander, *, k: int, beam_width: int, max_prefixes: int = EXACT_LIMIT
) -> SearchResult:
    """Find the true best k items of every user.

    ::

        first pass: per level expand the best beam_width prefixes, put all other children in a pool
        then, until no pooled prefix can hold an item better than the k-th found:
            expand each user's best pooled prefixes; items enter the best k, children the pool
        log-probabilities are <= 0: a prefix's score bounds the scores of all items below it

    Parameters
    ----------
    expander : Expander
        Who to search for, and where.
    k, beam_width : int
        Results per user; prefixes per level of the first pass, raised to k where smaller.
    max_prefixes : int
        Decoded prefixes per user after which the best found so far is returned, not certified. The
        first pass is always finished, so that there is something to return.

    Returns
    -------
    SearchResult
        Equal scores in leaf order. ``certified`` is False exactly where ``limit_hit`` is True.
    """
    search = _ExactSearch(expander, k)
    catalog = expander.catalog
    pool = Prefixes.roots(expander.num_users, catalog.native.whole)
    pool = pool.take(pool.num_leaves > 0)  # an empty catalogue's root leads nowhere
    for level in range(catalog.num_levels):
        pool = search.first_pass(pool, level, max(beam_width, k))
    while len(pool):
        pool = search.round(pool, max_prefixes)
    return search.result()


class _ExactSearch:
    """What a search has found and spent; the pool travels through its methods."""

    def __init__(self, expander: Expander, k: int) -> None:
        self._expander, self._catalog = expander, expander.catalog
        self._base_leaves = self._catalog.native.whole[1]
        users = expander.num_users
        self._best = BestItems(users, k)
        self._expanded = np.zeros(users, np.int64)
        self._limit_hit = np.zeros(users, bool)

    def first_pass(self, pool: Prefixes, level: int, width: int) -> Prefixes:
        """Expand the best prefixes of one level, as a beam search would; return the new pool."""
        candidates = np.flatnonzero(pool.level == level)
        return self._expand_best(pool, candidates, np.full(len(self._expanded), width))

    def round(self, pool: Prefixes, max_prefixes: int) -> Prefixes:
        """Expand the best prefixes of every user within its limit; return the new pool."""
        left = max_prefixes - self._expanded
        over = left[pool.user] <= 0
        self._limit_hit[pool.user[over]] = True
        pool = pool.take(~over)
        return self._expand_best(pool, np.arange(len(pool)), np.minimum(left, ROUND_WIDTH))

    def result(self) -> SearchResult:
        """Return the best k."""
        return SearchResult(
            self._best.leaves,
            self._best.scores,
            certified=~self._limit_hit,
            expanded=self._expanded,
            limit_hit=self._limit_hit,
        )

    def _expand_best(self, pool: Prefixes, candidates: Ints, most: Ints) -> Prefixes:
        among = pool.take(candidates)
        chosen, _ = best_of_each(among.user, among.score, among.place, most)
        taken = among.take(chosen)
        np.add.at(self._expanded, taken.user, 1)
        parts = [pool.take(np.delete(np.arange(len(pool)), candidates[chosen]))]
        for level in np.unique(taken.level):
            parts += self._children(taken.take(taken.level == level), int(level))
        found = Prefixes.join(parts)
        leaf = self._is_item(found)
        self._best.add(found.take(leaf), self._base_leaves)
        rest = found.take(~leaf)
        return rest.take(self._best.may_change_by(rest))

    def _is_item(self, prefixes: Prefixes) -> NDArray[np.bool_]:
        whole = prefixes.level == self._catalog.num_levels
        if self._expander.softmax_over_level:
            return np.asarray(whole)
        # Below a single item every further token has one choice: probability 1, nothing to decode.
        return np.asarray(whole | (prefixes.num_leaves == 1))

    def _children(self, parents: Prefixes, level: int) -> Iterator[Prefixes]:
        """Yield the children of prefixes of one level, grouped by user; calls of bounded size."""
        rows = Rows.of(parents.user, ROW_WIDTH)
        columns = self._catalog.level_sizes[level]
        children = np.bincount(rows.row, np.minimum(parents.num_leaves, columns)).astype(np.int64)
        rows_per_call = max(1, CALL_CELLS // (rows.width * columns + int(children.max())))
        for begin in range(0, len(rows.users), rows_per_call):
            part, some = rows.cut(begin, begin + rows_per_call)
            most = int(children[begin : begin + rows_per_call].max())
            yield self._expand(parents.take(part), level, some, most)

    def _expand(self, parents: Prefixes, level: int, rows: Rows, most: int) -> Prefixes:
        tokens = self._catalog.codes(parents.leaf(self._base_leaves))[:, :level].astype(np.int64)
        scores, ranges = self._expander.expand(level, parents, tokens, rows, most)
        live = np.nonzero(scores > -np.inf)
        return Prefixes(
            rows.users[live[0]], np.full(len(live[0]), level + 1), ranges[live], scores[live]
        )
