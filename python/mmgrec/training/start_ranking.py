"""How a recommender ranks before it is trained: by item vectors, through a tree of Rec-IDs.

Shapes: n users, N items, D width, L semantic levels.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@torch.no_grad()
def start_log_probs(queries: Tensor, items: Tensor, codes: NDArray[np.integer]) -> Tensor:
    """Return log p(item) ``[n, N]`` of the untrained recommender, all of the tree searched.

    ::

        logit(node) = q . mean of the item vectors below + log(number of items below)
        log p(item) = sum over its path of  logit(node) - log sum exp(logits of its siblings)
        below the last semantic token an item is its own node

    It differs from the softmax of q . v over all items by what a node's logit leaves out of
    log sum exp(q . v) over its items: how much they differ.

    Parameters
    ----------
    queries : Tensor
        ``[n, D]`` q.
    items : Tensor
        ``[N, D]`` v.
    codes : array
        ``[N, L]`` semantic tokens.
    """
    scores = queries @ items.T
    log_probs = torch.zeros(len(queries), 1)
    parents = [np.zeros(len(items), np.int64)]
    for level in range(codes.shape[1]):
        _, node = np.unique(codes[:, : level + 1], axis=0, return_inverse=True)
        parents.append(node.reshape(-1))
    for above, here in pairwise(parents):
        logits = _node_logits(queries, items, torch.from_numpy(here))
        parent = np.zeros(logits.shape[1], np.int64)
        parent[here] = above
        log_probs = _conditional(logits, torch.from_numpy(parent), log_probs)
    return _conditional(scores, torch.from_numpy(parents[-1]), log_probs)


def _node_logits(queries: Tensor, items: Tensor, node: Tensor) -> Tensor:
    count = torch.bincount(node).to(items)
    means = items.new_zeros(len(count), items.shape[1]).index_add_(0, node, items)
    return queries @ (means / count[:, None]).T + count.log()


def _conditional(logits: Tensor, parent: Tensor, above: Tensor) -> Tensor:
    """Return log p of children: their parents' and their own among their siblings."""
    most = logits.amax(1, keepdim=True)
    # A group whose logits lie far below the highest would sum to 0.
    sums = torch.zeros_like(above).index_add_(1, parent, (logits - most).exp_()).clamp_min_(1e-37)
    return logits.sub_((sums.log_() + most - above)[:, parent])
