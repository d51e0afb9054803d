"""Choice of hyperparameters on validation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from mmgrec.data.histories import Histories
from mmgrec.evaluation.baselines.base import Scorer
from mmgrec.evaluation.metrics import per_user_metrics

S = TypeVar("S")
K = 20


def tune(
    grid: Sequence[S], fit: Callable[[S], Scorer], history: Histories, valid: Histories
) -> tuple[S, list[float]]:
    """Choose the point of a grid with the best NDCG@20 on validation; the first of equals.

    ::

        users  = those with training and validation items
        scores = mean NDCG@20 of every point's ranking for them
        a grid of one point, or no such user: the first point, unscored

    Parameters
    ----------
    grid : sequence
        Points.
    fit : callable
        A point to a scorer.
    history, valid : Histories
        Training and validation items.

    Returns
    -------
    tuple
        The best point, and the score of every point (empty where none was needed).
    """
    rows = np.flatnonzero((valid.lengths > 0) & (history.lengths > 0))
    if len(grid) == 1 or len(rows) == 0:
        return grid[0], []
    scores = []
    for point in grid:
        top = fit(point).rank(rows, K)
        scores.append(float(per_user_metrics(top, valid, rows)["ndcg@20"].to_numpy().mean()))
    return grid[int(np.argmax(scores))], scores
