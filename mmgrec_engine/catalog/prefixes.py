"""The prefix tree of a sorted catalogue as flat tables, for training and for the node vectors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class PrefixLevel:
    """All nodes of one depth, in leaf order.

    ``starts`` ``[n + 1]``: node j covers leaf ranks ``starts[j]:starts[j + 1]``.
    ``tokens`` ``[n]``: last token of the node's prefix.
    ``first_child`` ``[n + 1]``: its children are nodes ``first_child[j]:first_child[j + 1]`` of the
    next depth (on the last depth: leaf ranks, one each).
    """

    starts: NDArray[np.int64]
    tokens: NDArray[np.int32]
    first_child: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True)
class PrefixTable:
    """Levels 0..T-1 of a catalogue; level t holds the prefixes of t + 1 tokens."""

    levels: tuple[PrefixLevel, ...]

    @classmethod
    def of(cls, codes: NDArray[np.int32]) -> PrefixTable:
        """Build the tables from Rec-IDs ``[N, T]`` sorted in leaf order.

        ::

            a node of depth t + 1 starts wherever one of the first t + 1 tokens changes
        """
        num_items, depth = codes.shape
        changed = np.zeros(num_items, bool)
        changed[:1] = True
        starts = []
        for level in range(depth):
            changed[1:] |= codes[1:, level] != codes[:-1, level]
            starts.append(np.r_[np.flatnonzero(changed), num_items].astype(np.int64))
        starts.append(np.arange(num_items + 1, dtype=np.int64))
        return cls(
            tuple(
                PrefixLevel(
                    starts[level],
                    np.ascontiguousarray(codes[starts[level][:-1], level]),
                    np.searchsorted(starts[level + 1], starts[level]).astype(np.int64),
                )
                for level in range(depth)
            )
        )

    def node_of_leaf(self, level: int) -> NDArray[np.int64]:
        """Return ``[N]``: the node of this level above every leaf."""
        starts = self.levels[level].starts
        return np.repeat(np.arange(len(starts) - 1), np.diff(starts))


def node_vectors(level: PrefixLevel, item_vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Average the item vectors ``[N, D]`` (leaf order) below every node: ``[n, D]``."""
    if len(level) == 0:
        return np.zeros((0, item_vectors.shape[1]), np.float32)
    sums = np.add.reduceat(item_vectors.astype(np.float64), level.starts[:-1], axis=0)
    return (sums / np.diff(level.starts)[:, None]).astype(np.float32)
