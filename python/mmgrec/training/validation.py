"""The score that early stopping watches."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmgrec.data.histories import Histories


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


def spread(rows: NDArray[np.int64], limit: int) -> NDArray[np.int64]:
    """Return at most ``limit`` of the rows, evenly spread (rows are often ordered by activity)."""
    if len(rows) <= limit:
        return rows
    return rows[np.linspace(0, len(rows) - 1, limit).astype(np.int64)]
