"""One state of an engine's items: what a request uses from its first line to its last.

Shapes: R rows (items that ever were, in order of arrival), S stored vectors, D width.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmgrec_engine.catalog.denied_ids import DeniedIds
from mmgrec_engine.catalog.filters import NamedSet
from mmgrec_engine.catalog.ids import IdTable
from mmgrec_engine.catalog.leaf_sets import LeafSet
from mmgrec_engine.catalog.nodes import NodeVectors
from mmgrec_engine.catalog.snapshot import Snapshot
from mmgrec_engine.catalog.trie import Trie

MOST_NAMED_SETS = 64
"""Named filters that a state keeps laid out by leaf."""

Ints = NDArray[np.int64]
Vectors = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class CatalogState:
    """Items by row, and the catalogue to search; immutable.

    ::

        row: an item's number for good, base items first; leaf: its place in the search, which
        edits and compactions change.  Without edits both are the leaf rank of the artifact.

    ``vectors`` ``[S, D]``: of base items and of everything that was inserted or replaced since;
    ``slots`` ``[R]``: which of them is a row's (None: slot = row). ``base_rows``: rows of the base
    leaves (None: row = leaf); ``base_bits``: the bits of their ids (None: those of the rows
    0, 1, 2, ...). ``columns``: by row, what is known of items that came later
    (states share it: it only gains rows that earlier states do not have).
    """

    catalog: Trie | Snapshot
    ids: IdTable
    vectors: Vectors
    slots: Ints | None = None
    base_rows: Ints | None = None
    base_bits: NDArray[np.uint32] | None = None
    nodes: NodeVectors | None = None
    columns: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    _named: dict[int, tuple[LeafSet, NamedSet]] = field(default_factory=dict, repr=False)

    @property
    def num_rows(self) -> int:
        """R."""
        return len(self.ids)

    @property
    def num_leaves(self) -> int:
        """Leaves of the catalogue, removed ones included."""
        return self.catalog.num_leaves

    def slots_of(self, rows: Ints) -> Ints:
        """Return which of ``vectors`` belong to rows of any shape."""
        return rows if self.slots is None else self.slots[rows]

    def leaves_or_gone(self, rows: Ints) -> Ints:
        """Return the leaves ``[n]`` of rows ``[n]``; -1 where the item is gone."""
        return rows if isinstance(self.catalog, Trie) else self.catalog.lookup_ids(rows)

    def leaves(self, rows: Ints) -> Ints:
        """Return the leaves of those of the rows ``[n]`` whose items still exist."""
        if isinstance(self.catalog, Trie):
            return rows
        leaves = self.leaves_or_gone(rows)
        return leaves[leaves >= 0]

    def rows_of(self, leaves: Ints) -> Ints:
        """Return the rows of leaves of any shape; -1 stays -1."""
        if isinstance(self.catalog, Trie):
            return leaves
        rows = np.full(leaves.shape, -1, np.int64)
        rows[leaves >= 0] = self.catalog.ids(leaves[leaves >= 0])
        return rows

    def with_items(
        self,
        rows: Ints,
        vectors: Vectors,
        new_ids: Sequence[Hashable] = (),
        columns: Sequence[Mapping[str, Any]] = (),
    ) -> CatalogState:
        """Return a state with new rows at the end and other vectors, over the same catalogue.

        ``rows`` ``[n]``: whose the last n of ``vectors`` are, the last one of several that one row
        has; ``new_ids`` and ``columns``: of the new rows, each of which is among ``rows``.
        """
        first = self.num_rows
        self.columns.update(enumerate(columns, first))
        slots = self.slots
        if slots is not None or not np.array_equal(rows, np.arange(first, first + len(new_ids))):
            known = np.arange(first) if slots is None else slots
            slots = np.concatenate([known, np.full(len(new_ids), -1)])
            slots[rows] = len(self.vectors) + np.arange(len(rows))
        return replace(self, ids=self.ids.grown(new_ids), vectors=vectors, slots=slots)

    def denied_ids(self, ids: Sequence[Hashable]) -> DeniedIds | None:
        """Return a set of ids that nobody gets; None where their rows have to be looked up."""
        words = self.ids.bits(ids)
        return None if words is None else DeniedIds(words, *self._bits_of_leaves)

    @cached_property
    def _bits_of_leaves(self) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
        """The bits of the ids of base leaves and of added ones."""
        base = self.base_bits
        if base is None:
            base = self.ids.bits_of_rows(slice(base_leaves(self.catalog)))
        return base, self.ids.bits_of_rows(added_rows(self.catalog))

    def named_set(self, rows: LeafSet) -> NamedSet:
        """Lay a set of rows out by leaf; kept for the next request with the same set."""
        known = self._named.get(id(rows))
        if known is not None:
            return known[1]
        made = self._lay_out(rows)
        if len(self._named) >= MOST_NAMED_SETS:
            self._named.clear()
        # The set is kept as well, so that no other one can take over its id.
        self._named[id(rows)] = (rows, made)
        return made

    def _lay_out(self, rows: LeafSet) -> NamedSet:
        added = added_rows(self.catalog)
        if self.base_rows is None:
            base = rows.resized(self.num_leaves - len(added))
        else:
            held = np.flatnonzero(rows.contains(self.base_rows))
            base = LeafSet.of(held, len(self.base_rows))
        return NamedSet(base, LeafSet.of(np.flatnonzero(rows.contains(added)), len(added)))

    def rebased(
        self, catalog: Snapshot, tables: NodeVectors | None, node_vectors: bool
    ) -> CatalogState:
        """Return the state over a catalogue with another base.

        ::

            vectors move to their rows, replaced ones are forgotten; node tables are made anew
            unless `tables` are those of the base
        """
        base_rows = rows_of_base(catalog)
        vectors = self.vectors if self.slots is None else self.vectors[self.slots]
        if node_vectors and tables is None:
            leaves = np.arange(base_leaves(catalog))
            in_order = vectors[: len(leaves)] if base_rows is None else vectors[base_rows]
            tables = NodeVectors.of(catalog.codes(leaves), in_order)
        bits = None if base_rows is None else self.ids.bits_of_rows(base_rows)
        moved = replace(
            self,
            vectors=vectors,
            slots=None,
            base_rows=base_rows,
            base_bits=bits,
            nodes=tables,
            _named={},
        )
        return moved.over(catalog)

    def over(self, catalog: Snapshot) -> CatalogState:
        """Return the state over a catalogue with the same base and other edits."""
        nodes = self.nodes
        if nodes is not None:
            # Node tables are made when slots are rows, and slots never change: a base leaf's slot
            # is the vector that is in the tables, wherever its item is now.
            removed = catalog.native.removed.astype(np.int64)
            gone = removed if self.base_rows is None else self.base_rows[removed]
            added = self.vectors[self.slots_of(added_rows(catalog))]
            nodes = nodes.edited(added, self.vectors[gone])
        return replace(self, catalog=catalog, nodes=nodes, _named={})


def base_leaves(catalog: Trie | Snapshot) -> int:
    """Return the number of leaves of a catalogue's base, removed ones included."""
    return int(catalog.native.whole[1])


def added_rows(catalog: Trie | Snapshot) -> Ints:
    """Return the rows of a catalogue's added leaves, in leaf order."""
    if isinstance(catalog, Trie):
        return np.zeros(0, np.int64)
    leaves = np.arange(base_leaves(catalog), catalog.num_leaves)
    return catalog.ids(leaves).astype(np.int64)


def rows_of_base(catalog: Snapshot) -> Ints | None:
    """Return the rows of the base leaves; None where they are 0, 1, 2, ..."""
    leaves = np.arange(base_leaves(catalog))
    rows = catalog.ids(leaves).astype(np.int64)
    return None if np.array_equal(rows, leaves) else rows
