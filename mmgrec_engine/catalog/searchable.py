"""What a search needs of a catalogue: a trie has it, and so has a snapshot of a live catalogue."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mmgrec_engine import _native


class Searchable(Protocol):
    """Leaves in the order of their Rec-IDs, behind a handle of the C++ core.

    ``num_leaves`` counts base leaves, removed ones included, and added leaves after them.
    """

    num_leaves: int
    num_levels: int
    level_sizes: list[int]

    @property
    def native(self) -> _native.Catalog:
        """The handle."""

    def codes(self, leaves: NDArray[np.int64] | None = None, /) -> NDArray[np.int32]:
        """Return the Rec-IDs ``[n, T]`` of leaves ``[n]``, by default of all items in order."""
