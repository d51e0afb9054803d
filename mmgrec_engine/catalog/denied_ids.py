"""Items that nobody gets, as bits of their ids."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class DeniedIds:
    """A set of ids, and how every leaf of a catalogue finds itself in it.

    ::

        leaf r is denied:  bit = bits[r];  words[bit // 64] >> (bit % 64) & 1

    To look ten thousand ids up is to wait for memory ten thousand times; a search comes by some
    hundred leaves, so it is these that are looked up. ``words`` uint64: see `IdTable.bits`.
    ``base``, ``added`` uint32: bits of the leaves of the catalogue's segments, beyond all words
    where an item has none.
    """

    words: NDArray[np.uint64]
    base: NDArray[np.uint32]
    added: NDArray[np.uint32]

    def mask(self) -> NDArray[np.bool_]:
        """Return ``[leaves]``: which leaves are denied."""
        bits = np.concatenate([self.base, self.added])
        denied = bits < 64 * len(self.words)
        inside = bits[denied]
        denied[denied] = self.words[inside >> 6] >> (inside & 63).astype(np.uint64) & np.uint64(1)
        return denied
