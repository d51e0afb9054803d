"""Log-probabilities of target items during training: a softmax per level of their Rec-ID."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmgrec_engine.catalog.prefixes import PrefixTable, node_vectors


@dataclass(frozen=True)
class SoftmaxLevel:
    """One level's nodes as tensors; see `PrefixLevel`."""

    tokens: Tensor  # [n] token of each node
    vectors: Tensor  # [n, D] mean item vector below each node
    log_items: Tensor  # [n] logarithm of the number of items below each node
    first: Tensor  # [N] first sibling of the node above each leaf
    count: Tensor  # [N] number of siblings, itself included
    own: Tensor  # [N] position of the leaf's node among its siblings


class CatalogSoftmax:
    """The catalogue's prefix tree, arranged for training.

    Parameters
    ----------
    codes : array
        ``[N, T]`` Rec-IDs in leaf order.
    item_vectors : array
        ``[N, D]`` in leaf order.
    normalise : {"catalogue", "full"}
        Softmax over the tokens that lead to an item, or over the whole level.
    """

    def __init__(
        self,
        codes: NDArray[np.int32],
        item_vectors: NDArray[np.float32],
        normalise: Literal["catalogue", "full"],
    ) -> None:
        table = PrefixTable.of(codes)
        self.normalise = normalise
        self.codes = torch.from_numpy(codes.astype(np.int64))
        self.levels = [_level(table, t, item_vectors) for t in range(len(table.levels))]

    def to(self, device: str) -> None:
        """Move the tables to a device."""
        self.codes = self.codes.to(device)
        self.levels = [
            SoftmaxLevel(**{name: value.to(device) for name, value in vars(level).items()})
            for level in self.levels
        ]

    def log_prob(self, level: int, targets: Tensor, logits: Tensor, query: Tensor | None) -> Tensor:
        """Return ``[n]`` log-probabilities of the targets' tokens of one level.

        ::

            children = tokens that follow the target's prefix in the catalogue
            logit[child] = logits[token] + query . node vector + log(items below the child)
                                           (the last two with node vectors)
            log p = logit[own] - logsumexp(children, or the whole level under "full")

        Parameters
        ----------
        level : int
            Which token.
        targets : Tensor
            ``[n]`` leaf ranks.
        logits : Tensor
            ``[n, K]`` columns of the level.
        query : Tensor or None
            ``[n, D]`` query of the node vectors.
        """
        rows = self.levels[level]
        if level == 0:
            children = logits[:, rows.tokens]
            if query is not None:
                children = children + query @ rows.vectors.T + rows.log_items
            tokens = rows.tokens.expand(len(targets), -1)
            valid = torch.ones((), dtype=torch.bool, device=logits.device)
        else:
            children, tokens, valid = _siblings(rows, targets, logits, query)
        own = children.gather(1, rows.own[targets, None]).squeeze(1)
        if self.normalise == "catalogue":
            return own - children.masked_fill(~valid, float("-inf")).logsumexp(1)
        # Padding repeats the last sibling: its value is written twice, its gradient flows once.
        full = logits.scatter(1, tokens, torch.where(valid, children, children.detach()))
        return own - full.logsumexp(1)


def _siblings(
    rows: SoftmaxLevel, targets: Tensor, logits: Tensor, query: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    first, count = rows.first[targets], rows.count[targets]
    column = torch.arange(int(count.max()) if len(targets) else 1, device=logits.device)
    valid = column < count[:, None]
    node = first[:, None] + torch.minimum(column, count[:, None] - 1)
    tokens = rows.tokens[node]
    children = logits.gather(1, tokens)
    if query is not None:
        dots = (rows.vectors[node] @ query[:, :, None]).squeeze(2)
        children = children + dots + rows.log_items[node]
    return children, tokens, valid


def _level(table: PrefixTable, level: int, item_vectors: NDArray[np.float32]) -> SoftmaxLevel:
    own = table.node_of_leaf(level)
    if level == 0:
        first = np.zeros(len(own), np.int64)
        count = np.full(len(own), len(table.levels[0]))
    else:
        parent = table.node_of_leaf(level - 1)
        first = table.levels[level - 1].first_child[parent]
        count = table.levels[level - 1].first_child[parent + 1] - first
    vectors = node_vectors(table.levels[level], item_vectors)
    return SoftmaxLevel(
        torch.from_numpy(table.levels[level].tokens.astype(np.int64)),
        torch.from_numpy(vectors),
        torch.from_numpy(np.log(np.diff(table.levels[level].starts)).astype(np.float32)),
        torch.from_numpy(first),
        torch.from_numpy(count),
        torch.from_numpy(own - first),
    )
