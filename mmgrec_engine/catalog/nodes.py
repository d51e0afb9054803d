"""Node vectors of a catalogue: the mean item vector below every prefix, one table per level."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mmgrec_engine.catalog.prefixes import PrefixTable, node_vectors

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class NodeVectors:
    """Tables of all levels.

    Per level t: ``starts[t]`` ``[n_t + 1]``, first leaf of every node; ``vectors[t]`` ``[n_t, D]``.
    For an edited catalogue, running sums of item vectors: ``added_sums`` ``[added + 1, D]`` float64
    over the added leaves, ``removed_sums`` ``[removed + 1, D]`` over the removed base leaves.
    """

    starts: tuple[NDArray[np.int64], ...]
    vectors: tuple[Vectors, ...]
    added_sums: NDArray[np.float64] | None = None
    removed_sums: NDArray[np.float64] | None = None

    @classmethod
    def of(cls, codes: NDArray[np.int32], item_vectors: Vectors) -> NodeVectors:
        """Average the item vectors ``[N, D]`` of a catalogue ``[N, T]``, both in leaf order."""
        table = PrefixTable.of(codes)
        return cls(
            tuple(level.starts for level in table.levels),
            tuple(node_vectors(level, item_vectors) for level in table.levels),
        )

    def edited(self, added: Vectors, removed: Vectors) -> NodeVectors:
        """Return the same tables for a catalogue with edits.

        Parameters
        ----------
        added, removed : array
            Vectors ``[added, D]`` of the added leaves and ``[removed, D]`` of the removed base
            leaves, in leaf order. A removed leaf's is the one that the tables were made with.
        """
        return replace(self, added_sums=_running(added), removed_sums=_running(removed))


def _running(vectors: Vectors) -> NDArray[np.float64]:
    sums = np.zeros((len(vectors) + 1, vectors.shape[1]))
    np.cumsum(vectors, 0, np.float64, out=sums[1:])
    return sums
