"""A plain restatement of the prefix trie in torch: the baseline of the trie's benchmarks.

The trie of STATIC and its like: compressed sparse rows, that is per level the tokens of all nodes
and where the children of each begin. Shapes: B users, M beams, C most children of a beam, K columns
of the level, W beams kept, n nodes of a level, N items, T levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmgrec_engine.catalog.prefixes import PrefixTable

NOTHING = float("-inf")


class CsrTrie:
    """Sorted Rec-IDs ``[N, T]`` as compressed sparse rows.

    Per level t: ``tokens[t]`` ``[n_t]`` int64; ``first[t]`` ``[n_{t-1} + 1]`` int64, the first
    child of every node above (of the root for t = 0); ``starts[t]`` ``[n_t + 1]``, its first leaf.
    """

    def __init__(self, codes: NDArray[np.int32]) -> None:
        levels = PrefixTable.of(codes).levels
        self.tokens = [torch.from_numpy(level.tokens.astype(np.int64)) for level in levels]
        self.starts = [torch.from_numpy(level.starts) for level in levels]
        above = [torch.tensor([0, len(levels[0])])]
        self.first = above + [torch.from_numpy(level.first_child) for level in levels[:-1]]
        self._leaves = [starts.diff() for starts in self.starts]
        self._node_of_leaf = [
            torch.repeat_interleave(torch.arange(len(count)), count) for count in self._leaves
        ]

    def to(self, device: str) -> CsrTrie:
        """Return a copy on a device that takes steps and knows no filters."""
        moved = copy(self)
        moved.tokens, moved.starts, moved.first = (
            [x.to(device) for x in arrays] for arrays in (self.tokens, self.starts, self.first)
        )
        return moved

    def nodes_of(self, level: int, leaves: Tensor) -> Tensor:
        """Return ``[B, M]``: the nodes of a level whose first leaves these are (0 for a -1)."""
        found = torch.searchsorted(self.starts[level], leaves.clamp_min(0), right=True) - 1
        return found.clamp_min(0)

    def num_children(self, level: int, nodes: Tensor) -> Tensor:
        """Return how many children on a level nodes of the level above have."""
        return self.first[level][nodes + 1] - self.first[level][nodes]

    def allowed_nodes(self, deny: Sequence[Tensor]) -> list[Tensor]:
        """Return per level ``[B, n]``: below which nodes a leaf is left.

        ::

            a node is out where as many denied leaves are below it as leaves

        ``deny``: distinct leaf ranks per user.
        """
        return [
            torch.stack([torch.bincount(node_of[d], minlength=len(n)) < n for d in deny])
            for node_of, n in zip(self._node_of_leaf, self._leaves, strict=True)
        ]

    def step(
        self,
        level: int,
        nodes: Tensor,
        scores: Tensor,
        logits: Tensor,
        width: int,
        normalise: Literal["catalogue", "full"] = "catalogue",
        allowed: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Expand beams ``nodes`` ``[B, M]`` by one token; return scores and nodes ``[B, W]``.

        ::

            children = first child + 0..C-1, padded;  logits gathered, padding masked
            scores   = beam + log-softmax;  those without an allowed leaf masked;  top W of M x C
        """
        most = int(self.num_children(level, nodes).max())
        child, _, log_probs = self._expand(level, nodes, logits, most, normalise, allowed)
        values, at, missing = _best(scores, log_probs, width)
        return values, torch.nn.functional.pad(child.flatten(1).gather(1, at), missing)

    def step_with_origin(
        self,
        level: int,
        nodes: Tensor,
        scores: Tensor,
        logits: Tensor,
        width: int,
        most: int | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Do a step and say where its beams come from: scores, nodes, parents, tokens ``[B, W]``.

        ``most``: C where it is known; otherwise the beams are asked, which waits for a device.
        """
        if most is None:
            most = int(self.num_children(level, nodes).max())
        child, token, log_probs = self._expand(level, nodes, logits, most, "catalogue", None)
        values, at, missing = _best(scores, log_probs, width)
        nodes, parents, tokens = (
            torch.nn.functional.pad(x, missing)
            for x in (child.flatten(1).gather(1, at), at // most, token.flatten(1).gather(1, at))
        )
        return values, nodes, parents, tokens

    def _expand(
        self,
        level: int,
        nodes: Tensor,
        logits: Tensor,
        most: int,
        normalise: str,
        allowed: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return nodes, tokens and log-probabilities ``[B, M, C]`` of all children, padded."""
        column = torch.arange(most, device=nodes.device)
        valid = column < self.num_children(level, nodes)[..., None]
        child = (self.first[level][nodes][..., None] + column).clamp_max(
            len(self.tokens[level]) - 1
        )
        token = self.tokens[level][child]
        if normalise == "catalogue":
            log_probs = logits.gather(2, token).masked_fill(~valid, NOTHING).log_softmax(2)
        else:
            log_probs = logits.log_softmax(2).gather(2, token).masked_fill(~valid, NOTHING)
        if allowed is not None:
            kept = allowed.gather(1, child.flatten(1)).view_as(child)
            log_probs = log_probs.masked_fill(~kept, NOTHING)
        return child, token, log_probs


def _best(scores: Tensor, log_probs: Tensor, width: int) -> tuple[Tensor, Tensor, tuple[int, int]]:
    """Return the best scores ``[B, W]``, which of the M x C they are, and how to pad that to W."""
    candidates = (scores[..., None] + log_probs).flatten(1)
    best = candidates.topk(min(width, candidates.shape[1]), dim=1)
    missing = (0, width - best.indices.shape[1])
    return torch.nn.functional.pad(best.values, missing, value=NOTHING), best.indices, missing


def csr_bytes(nodes: Sequence[int], token_bytes: int) -> int:
    """Return the size of such a trie from the number of nodes per level.

    ::

        per node a token;  per node that has children, and once more per level, a 4-byte offset

    The last level has no children, the root is a node with children; nothing else is counted.
    """
    offsets = sum(count + 1 for count in (1, *nodes[:-1]))
    return token_bytes * sum(nodes) + 4 * offsets
