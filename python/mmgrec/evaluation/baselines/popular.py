"""The same ranking for everyone: by number of training interactions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from mmgrec.data.dataset import Dataset, Split
from mmgrec.data.histories import Histories
from mmgrec.evaluation.baselines.base import MatrixScorer, Rows, Scorer, Settings


class Popular:
    """Most popular as a baseline; there is nothing to choose."""

    name: ClassVar[str] = "popular"
    seeded: ClassVar[bool] = False
    settings_type: ClassVar[type[Settings]] = Settings
    axes: ClassVar[Mapping[str, Sequence[Any]]] = {}

    def __init__(self, dataset: Dataset) -> None:
        self.history, self.num_items = dataset.histories(Split.TRAIN), dataset.num_items

    def fit(self, settings: Settings, seed: int) -> Scorer:
        """Count."""
        return popularity_scorer(self.history, self.num_items)


def popularity_scorer(history: Histories, num_items: int) -> MatrixScorer:
    """Return the scorer that gives every item its training count."""
    counts = np.bincount(history.item_rows, minlength=num_items).astype(np.float64)
    return MatrixScorer(history, lambda rows: np.tile(counts, (len(rows), 1)))


def most_popular(history: Histories, num_items: int, user_rows: Rows, k: int) -> Rows:
    """Rank items by training count (ties to the lower row) without the user's own: ``[n, k]``."""
    return popularity_scorer(history, num_items).rank(user_rows, k)
