"""Everybody's recommendations by several methods, and what is read off them for every K.

Shapes: n users, K longest list, N items.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmgrec.data.dataset import Dataset, Split
from mmgrec.data.histories import Histories, spread
from mmgrec.evaluation.baselines import (
    CoOccurrence,
    KnnSettings,
    Rows,
    Scorer,
    item_knn,
    most_popular,
    tuned_knn,
)

LONGEST = 50
"""K: the longest list that a report looks at."""
AT = 20
"""Length of the lists whose contents are counted."""
MOST_USERS = 5000
"""Users that a report looks at; of more, this many evenly spread ones."""


@dataclass(frozen=True)
class Audience:
    """The users of a split, what they know and what they should be recommended.

    ``rows`` ``[n]``: users with at least one item in the split, at most `MOST_USERS`; ``of``: how
    many there are in all. ``counts`` ``[N]``: training interactions per item.
    """

    history: Histories
    relevant: Histories
    rows: Rows
    of: int
    counts: NDArray[np.int64]

    @classmethod
    def of_split(cls, dataset: Dataset, split: Split) -> Audience:
        """Take the users of a split; an empty one is a `DataError`."""
        history, relevant = dataset.histories(Split.TRAIN), dataset.held_out(split)
        rows = np.flatnonzero(relevant.lengths)
        counts = np.bincount(history.item_rows, minlength=dataset.num_items)
        return cls(history, relevant, spread(rows, MOST_USERS), len(rows), counts)

    @property
    def num_items(self) -> int:
        """N."""
        return len(self.counts)

    def popular(self) -> Rows:
        """Rank by training count, the user's own items left out: ``[n, K]``."""
        return most_popular(self.history, self.num_items, self.rows, LONGEST)

    def neighbours(self, dataset: Dataset) -> tuple[Rows, KnnSettings]:
        """Rank by ItemKNN, tuned on the data set's validation items: ``[n, K]``."""
        counts = CoOccurrence(self.history, self.num_items)
        settings = tuned_knn(dataset, counts)
        args = (self.history, self.num_items, self.rows, LONGEST, settings, counts)
        return item_knn(*args), settings

    def rank(self, scorer: Scorer, popular: Rows) -> Rows:
        """Rank by a method; users without a history get the popular items, as in `evaluate`."""
        known = self.history.lengths[self.rows] > 0
        top = popular.copy()
        top[known] = scorer.rank(self.rows[known], LONGEST)
        return top

    def hits(self, top: Rows) -> NDArray[np.bool_]:
        """Say which recommended items are relevant: ``[n, K]``."""
        lengths = self.relevant.lengths
        owner = np.repeat(np.arange(len(lengths)), lengths)
        wanted = owner * self.num_items + self.relevant.item_rows
        return np.isin(self.rows[:, None] * self.num_items + top, wanted) & (top >= 0)

    def recall_curve(self, top: Rows) -> list[float]:
        """Return the mean over users of Recall@1 to Recall@K."""
        found = self.hits(top).cumsum(1) / self.relevant.lengths[self.rows][:, None]
        curve: list[float] = found.mean(0).tolist()
        return curve


def coverage_curve(top: Rows, num_items: int) -> list[float]:
    """Return the share of the catalogue that anybody is recommended, for lists of 1 to K."""
    first = np.full(num_items, top.shape[1])
    users, places = np.nonzero(top >= 0)
    np.minimum.at(first, top[users, places], places)
    found = np.bincount(first, minlength=top.shape[1] + 1)[: top.shape[1]]
    curve: list[float] = (found.cumsum() / num_items).tolist()
    return curve


def exposure(top: Rows, num_items: int) -> NDArray[np.int64]:
    """Return how often every item is among the first `AT`: ``[N]``."""
    shown = top[:, :AT]
    return np.bincount(shown[shown >= 0], minlength=num_items)


def gini(counts: NDArray[Any]) -> float:
    """Return the Gini coefficient: 0 all items alike, 1 one item has everything."""
    ordered = np.sort(counts).astype(np.float64)
    total = ordered.sum()
    if total == 0:
        return 0.0
    place = np.arange(1, len(ordered) + 1)
    return float((2 * place - len(ordered) - 1) @ ordered / (len(ordered) * total))
