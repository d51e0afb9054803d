"""The score that early stopping watches."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmgrec.data.histories import Histories, spread

DENSE_USERS, DENSE_K = 4096, 20


def ndcg_at(top: NDArray[Any], relevant: Histories, user_rows: NDArray[Any]) -> float:
    """Return the mean NDCG of ranked item rows.

    ::

        DCG  = sum over ranks r of [item r is relevant] / log2(r + 1)
        NDCG = DCG / (DCG of a ranking with all relevant items first)

    Parameters
    ----------
    top : array
        ``[n, k]`` item rows, best first.
    relevant : Histories
        Relevant items of all users.
    user_rows : array
        ``[n]`` the user of each row; users without relevant items are left out of the mean.

    Notes
    -----
    Called after every epoch; the reported figures come from `mmgrec.evaluation`, and a test holds
    the two against each other.
    """
    discount = 1.0 / np.log2(np.arange(2, top.shape[1] + 2))
    ideal = np.cumsum(discount)
    scores = []
    for ranked, row in zip(top, user_rows, strict=True):
        truth = relevant.of(int(row))
        if len(truth):
            gain = discount[np.isin(ranked, truth)].sum()
            scores.append(gain / ideal[min(len(truth), top.shape[1]) - 1])
    return float(np.mean(scores)) if scores else 0.0


@torch.no_grad()
def dense_ndcg(
    users: Tensor, items: Tensor, history: Histories, relevant: Histories, limit: int = DENSE_USERS
) -> float | None:
    """NDCG@20 of dot products, history left out, on users with relevant items (up to a limit)."""
    rows = spread(np.flatnonzero(relevant.lengths), limit)
    if len(rows) == 0:
        return None
    return ranked_ndcg(users[torch.from_numpy(rows)] @ items.T, history, relevant, rows)


def ranked_ndcg(
    scores: Tensor, history: Histories, relevant: Histories, rows: NDArray[np.int64]
) -> float:
    """NDCG@20 of scores ``[len(rows), N]`` of users; their history's are overwritten."""
    for i, row in enumerate(rows):
        scores[i, torch.from_numpy(history.of(int(row)).astype(np.int64))] = float("-inf")
    top = scores.topk(min(DENSE_K, scores.shape[1]), dim=1).indices.numpy()
    return ndcg_at(top, relevant, rows)
