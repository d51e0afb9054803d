"""One state of a live catalogue: a thin handle on the C++ core (csrc/live)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mmgrec_engine import _native


class Snapshot:
    """What a reader searches: immutable, safe to share between threads, kept as long as needed.

    Leaves are numbered: those of the built trie first, gone ones included, then the added ones.
    ``native`` is a ``_native.Catalog``, which every search takes.
    """

    def __init__(self, native: _native.Snapshot) -> None:
        self.native = native
        self.num_items: int = native.num_items
        self.num_leaves: int = native.num_leaves
        self.num_levels: int = native.num_levels
        self.level_sizes: list[int] = list(native.level_sizes)

    @property
    def pending(self) -> int:
        """Additions and removals that the next compaction will build in."""
        return int(self.native.num_added + self.native.num_removed)

    def lookup(self, codes: NDArray[np.integer]) -> NDArray[np.int64]:
        """Return the leaves ``[n]`` of Rec-IDs ``[n, T]``; -1 where no item has one."""
        leaves: NDArray[np.int64] = self.native.lookup(np.ascontiguousarray(codes, dtype=np.int32))
        return leaves

    def lookup_ids(self, ids: NDArray[np.integer]) -> NDArray[np.int64]:
        """Return the leaves ``[n]`` of item ids ``[n]``; -1 where no item has one."""
        leaves: NDArray[np.int64] = self.native.lookup_ids(
            np.ascontiguousarray(ids, dtype=np.uint32)
        )
        return leaves

    def leaves(self) -> NDArray[np.int64]:
        """Return the leaves of all items in the order of their Rec-IDs ``[num_items]``."""
        leaves: NDArray[np.int64] = self.native.live_leaves()
        return leaves

    def codes(self, leaves: NDArray[np.int64] | None = None) -> NDArray[np.int32]:
        """Return the Rec-IDs ``[n, T]`` of leaves ``[n]``, by default of all items in order."""
        chosen = self.leaves() if leaves is None else np.ascontiguousarray(leaves, dtype=np.int64)
        codes: NDArray[np.int32] = self.native.codes(chosen)
        return codes

    def ids(self, leaves: NDArray[np.int64] | None = None) -> NDArray[np.uint32]:
        """Return the item ids ``[n]`` of leaves ``[n]``, by default of all items in order."""
        chosen = self.leaves() if leaves is None else np.ascontiguousarray(leaves, dtype=np.int64)
        ids: NDArray[np.uint32] = self.native.ids(chosen)
        return ids
