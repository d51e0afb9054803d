"""Node vectors of a catalogue: the mean item vector below every prefix, one table per level."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmgrec_engine.catalog.prefixes import PrefixTable, node_vectors


@dataclass(frozen=True)
class NodeVectors:
    """Tables of all levels.

    Per level t: ``starts[t]`` ``[n_t + 1]``, first leaf of every node; ``vectors[t]`` ``[n_t, D]``.
    """

    starts: tuple[Tensor, ...]
    vectors: tuple[Tensor, ...]

    @classmethod
    def of(cls, codes: NDArray[np.int32], item_vectors: NDArray[np.float32]) -> NodeVectors:
        """Average the item vectors ``[N, D]`` of a catalogue ``[N, T]``, both in leaf order."""
        table = PrefixTable.of(codes)
        return cls(
            tuple(torch.from_numpy(level.starts) for level in table.levels),
            tuple(torch.from_numpy(node_vectors(level, item_vectors)) for level in table.levels),
        )
