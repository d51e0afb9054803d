"""Exact search: the true k best items of the whole catalogue, by branch and bound over prefixes.

Shapes: B users, T levels, K columns of a level, R rows of one decoder call (a user with many
prefixes has several), M prefixes of a row, W children of a row.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmgrec_engine.catalog.filters import RankFilter
from mmgrec_engine.catalog.nodes import NodeVectors
from mmgrec_engine.catalog.searchable import Searchable
from mmgrec_engine.decoding.beam_search import SearchResult, nodes_of
from mmgrec_engine.decoding.prefixes import BestItems, Ints, Prefixes, best_of_each, places
from mmgrec_engine.models.decoder import Memory
from mmgrec_engine.models.recommender import Recommender
from mmgrec_engine.ops.constrained_topk import Beams, BeamStep, constrained_topk

EXACT_LIMIT = 20_000
"""Decoded prefixes per user after which a search gives up proving, by default."""

ROUND_WIDTH = 32
"""Prefixes of a user that are decoded together once the first pass is over: more make fewer and
fuller decoder calls, fewer waste less on prefixes that the next k-th score would have ruled out."""

ROW_WIDTH = 16
"""Most prefixes of a row. Users differ in how many they have left, and rows are padded."""

CALL_CELLS = 1 << 22
"""Most numbers of one call's logits and children together; bounds memory at about 100 MB."""


@torch.no_grad()
def exact_search(
    model: Recommender,
    catalog: Searchable,
    nodes: NodeVectors | None,
    memory: Memory,
    *,
    k: int,
    beam_width: int,
    filters: RankFilter | None = None,
    backend: str = "native",
    max_prefixes: int = EXACT_LIMIT,
) -> SearchResult:
    """Find the true best k items of every user.

    ::

        first pass: per level expand the best beam_width prefixes, put all other children in a pool
        then, until no pooled prefix can hold an item better than the k-th found:
            expand each user's best pooled prefixes; items enter the best k, children the pool
        log-probabilities are <= 0: a prefix's score bounds the scores of all items below it

    Parameters
    ----------
    model, catalog, nodes, memory, filters, backend
        As for `beam_search`.
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
    search = _ExactSearch(model, catalog, nodes, memory, k, filters, backend)
    pool = Prefixes.roots(len(memory.lengths), catalog.native.whole)
    for level in range(catalog.num_levels):
        pool = search.first_pass(pool, level, max(beam_width, k))
    while len(pool):
        pool = search.round(pool, max_prefixes)
    return search.result()


class _ExactSearch:
    """What a search has found and spent; the pool travels through its methods."""

    def __init__(
        self,
        model: Recommender,
        catalog: Searchable,
        nodes: NodeVectors | None,
        memory: Memory,
        k: int,
        filters: RankFilter | None,
        backend: str,
    ) -> None:
        self._model, self._catalog, self._nodes, self._memory = model, catalog, nodes, memory
        self._base_leaves = catalog.native.whole[1]
        self._filters, self._backend = filters, backend
        users = len(memory.lengths)
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
        device = self._memory.lengths.device
        limit_hit = torch.from_numpy(self._limit_hit).to(device)
        return SearchResult(
            torch.from_numpy(self._best.leaves).to(device),
            torch.from_numpy(self._best.scores).to(device),
            certified=~limit_hit,
            expanded=torch.from_numpy(self._expanded).to(device),
            limit_hit=limit_hit,
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
        if self._model.config.normalise == "full":
            return np.asarray(whole)
        # Below a single item every further token has one choice: probability 1, nothing to decode.
        return np.asarray(whole | (prefixes.num_leaves == 1))

    def _children(self, parents: Prefixes, level: int) -> Iterator[Prefixes]:
        """Yield the children of prefixes of one level, grouped by user; calls of bounded size."""
        row, column = _rows(parents.user)
        columns = self._catalog.level_sizes[level]
        width = int(column.max()) + 1
        children = np.bincount(row, np.minimum(parents.num_leaves, columns)).astype(np.int64)
        rows_per_call = max(1, CALL_CELLS // (width * columns + int(children.max())))
        for begin in range(0, int(row[-1]) + 1, rows_per_call):
            part = slice(*np.searchsorted(row, [begin, begin + rows_per_call]))
            most = int(children[begin : begin + rows_per_call].max())
            yield self._expand(parents.take(part), level, (row[part] - begin, column[part]), most)

    def _expand(self, parents: Prefixes, level: int, at: tuple[Ints, Ints], most: int) -> Prefixes:
        row, column = at
        shape = (int(row[-1]) + 1, int(column.max()) + 1)
        users = np.zeros(shape[0], np.int64)
        users[row] = parents.user
        leaves = parents.leaf(self._base_leaves)
        tokens = self._catalog.codes(leaves)[:, :level].astype(np.int64)
        ranges = _scatter(shape, at, parents.ranges)
        step = self._step(
            level,
            _scatter(shape, at, tokens),
            Beams.of_ranges(ranges, _scatter(shape, at, parents.score)),
            users,
            most,
        )
        scores = step.scores.cpu().numpy()
        live = np.nonzero(scores > -np.inf)
        return Prefixes(
            users[live[0]],
            np.full(len(live[0]), level + 1),
            step.beams.ranges.cpu().numpy()[live],
            scores[live],
        )

    def _step(self, level: int, prefix: Tensor, beams: Beams, users: Ints, width: int) -> BeamStep:
        """Decode ``[R, M]`` prefixes, row r of user ``users[r]``; return all of their children."""
        device = self._memory.lengths.device
        memory = self._memory.of_users(torch.from_numpy(users).to(device))
        hidden = self._model.decoder(prefix.to(device), memory)[:, :, -1]
        return constrained_topk(
            self._catalog,
            level,
            beams,
            self._model.head.logits(level, hidden),
            width,
            nodes=nodes_of(self._model, self._nodes, level, hidden, memory),
            filters=self._filters.of_users(users) if self._filters is not None else None,
            normalise=self._model.config.normalise,
            backend=self._backend,
        )


def _rows(user: Ints) -> tuple[Ints, Ints]:
    """Lay entries, grouped by user, out in rows of one user each: row and column of every entry."""
    column = places(user) % ROW_WIDTH
    return np.cumsum(column == 0) - 1, column


def _scatter(shape: tuple[int, int], at: tuple[Ints, Ints], values: NDArray[np.generic]) -> Tensor:
    padded = np.zeros((*shape, *values.shape[1:]), values.dtype)
    padded[at] = values
    return torch.from_numpy(padded)
