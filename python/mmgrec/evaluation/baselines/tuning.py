"""Choice of hyperparameters on validation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from mmgrec.data.histories import Histories, spread
from mmgrec.evaluation.baselines.base import Scorer
from mmgrec.evaluation.metrics import per_user_metrics

S = TypeVar("S")
K = 20


def tune(grid: Sequence[S], score: Callable[[S], float]) -> S:
    """Return the point of a grid with the highest score, the first of equals.

    A grid of one point is not scored.
    """
    if len(grid) == 1:
        return grid[0]
    return grid[int(np.argmax([score(point) for point in grid]))]


def validation_score(
    scorer: Scorer, history: Histories, valid: Histories, most: int | None = None
) -> float:
    """Return the mean NDCG@20 of the users with training and validation items; 0 without any.

    ``most``: of no more users than these, evenly spread over the rows.
    """
    rows = np.flatnonzero((valid.lengths > 0) & (history.lengths > 0))
    rows = rows if most is None else spread(rows, most)
    if len(rows) == 0:
        return 0.0
    metrics = per_user_metrics(scorer.rank(rows, K), valid, rows)
    return float(metrics["ndcg@20"].to_numpy().mean())
