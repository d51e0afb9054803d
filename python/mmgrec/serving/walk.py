"""How a beam search walks the Rec-ID tree: the prefixes of every level, kept and dropped.

Shapes: P prefixes of a level that are shown, t tokens of each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmgrec_engine.catalog.state import CatalogState, base_leaves
from mmgrec_engine.catalog.trie import Trie
from mmgrec_engine.decoding.exact import ROW_WIDTH, Expander
from mmgrec_engine.decoding.prefixes import Ints, Prefixes, Rows, Scores, best_of_each

SHOWN = 12
"""Best prefixes of a level that are shown, and of the last level at most `SHOWN_ITEMS`."""

SHOWN_ITEMS = 20

SHOWN_DROPPED = 2
"""Best prefixes that the beam dropped: where its edge is."""


@dataclass(frozen=True)
class WalkLevel:
    """The prefixes of one level that are worth showing, best first.

    ``tokens`` ``[P, t]``. ``parent`` ``[P]``: place in the level before, 0 (the root) in the first.
    ``items`` ``[P]``: items below, whatever filters say. ``leaf`` ``[P]``: of the only item below,
    -1 where there are more. ``kept`` ``[P]``: the beam went on with it; in the last level: it is
    among the best k. ``considered``, ``survived``: how many there were, and were kept, in all.
    """

    tokens: Ints
    scores: Scores
    parent: Ints
    items: Ints
    leaf: Ints
    kept: NDArray[np.bool_]
    considered: int
    survived: int


def walk_beams(expander: Expander, state: CatalogState, *, k: int, width: int) -> list[WalkLevel]:
    """Walk the tree for the one user of an expander.

    ::

        per level: children of the beam, best first -> the best `width` are kept (of items: k)
        shown: the best of a level, the first that were dropped, parents of what is shown below

    Parameters
    ----------
    expander : Expander
        An encoded user, and the filters.
    state : CatalogState
        The catalogue that it searches.
    k, width : int
        Items wanted; prefixes kept per level, raised to k where smaller.
    """
    width = max(width, k)
    levels = list(_beams(expander, width))
    shown: list[WalkLevel] = []
    parents: Ints = np.zeros(0, np.int64)
    for level in reversed(range(len(levels))):
        found, parent = levels[level]
        last = level == expander.catalog.num_levels - 1
        most, kept = (min(max(SHOWN, k), SHOWN_ITEMS), k) if last else (SHOWN, width)
        best = np.r_[: min(most, kept), kept : kept + SHOWN_DROPPED]
        chosen = np.union1d(best[best < len(found)], parents)
        if shown:
            shown[0].parent[:] = np.searchsorted(chosen, shown[0].parent)  # among those shown
        parents = np.unique(parent[chosen])
        shown.insert(0, _level(state, found, chosen, parent[chosen], kept))
    return shown


def _beams(expander: Expander, width: int) -> Iterator[tuple[Prefixes, Ints]]:
    """Yield every level's prefixes, best first, and the places of their parents."""
    catalog = expander.catalog
    beam = Prefixes.roots(1, catalog.native.whole)
    for level in range(catalog.num_levels):
        found, parent = _children(expander, beam, level)
        order, _ = best_of_each(found.user, found.score, found.place, np.array([len(found)]))
        found, parent = found.take(order), parent[order]
        yield found, parent
        beam = found.take(slice(width))
        if len(beam) == 0:  # the filters let nothing through
            return


def _children(expander: Expander, beam: Prefixes, level: int) -> tuple[Prefixes, Ints]:
    catalog = expander.catalog
    rows = Rows.of(beam.user, ROW_WIDTH)
    tokens = catalog.codes(beam.leaf(catalog.native.whole[1]))[:, :level].astype(np.int64)
    per_row = np.bincount(rows.row, np.minimum(beam.num_leaves, catalog.level_sizes[level]))
    most = int(per_row.max(initial=1))
    scores, ranges = expander.expand(level, beam, tokens, rows, most)
    live = scores > -np.inf
    count = int(live.sum())
    found = Prefixes(
        np.zeros(count, np.int64), np.full(count, level + 1), ranges[live], scores[live]
    )
    return found, _parents(beam, found)


def _parents(beam: Prefixes, found: Prefixes) -> Ints:
    """Return whose ranges a prefix is in: those of a beam do not overlap."""
    order = np.argsort(beam.place, kind="stable")
    return order[np.searchsorted(beam.place[order], found.place, side="right") - 1]


def _level(
    state: CatalogState, found: Prefixes, chosen: Ints, parent: Ints, kept: int
) -> WalkLevel:
    some = found.take(chosen)
    leaves = some.leaf(base_leaves(state.catalog))
    tokens = state.catalog.codes(leaves).astype(np.int64)
    level = int(some.level[0]) if len(some) else 0
    single = (some.num_leaves == 1) | (some.level == state.catalog.num_levels)
    return WalkLevel(
        tokens[:, :level],
        some.score,
        parent.copy(),
        _live_items(state, some),
        np.where(single, leaves, -1),
        chosen < kept,
        len(found),
        min(kept, len(found)),
    )


def _live_items(state: CatalogState, prefixes: Prefixes) -> Ints:
    if isinstance(state.catalog, Trie):
        return prefixes.num_leaves
    removed = state.catalog.native.removed.astype(np.int64)
    base = prefixes.ranges[:, :2]
    gone = np.searchsorted(removed, base[:, 1]) - np.searchsorted(removed, base[:, 0])
    return np.asarray(prefixes.num_leaves - gone)
