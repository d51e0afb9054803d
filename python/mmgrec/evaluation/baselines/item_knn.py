"""Item-based nearest neighbours on co-occurrence, with shrinkage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from pydantic import Field
from scipy.sparse import csr_matrix, vstack

from mmgrec.data.dataset import Dataset, Split
from mmgrec.data.histories import Histories
from mmgrec.evaluation.baselines.base import (
    BATCH,
    MatrixScorer,
    Rows,
    Scores,
    Settings,
    grid_of,
    interaction_matrix,
)
from mmgrec.evaluation.baselines.tuning import tune


class KnnSettings(Settings):
    """Neighbours kept per item, and shrinkage of similarities with little support."""

    neighbours: int = Field(ge=1)
    shrink: float = Field(ge=0)


class ItemKnn:
    """ItemKNN as a baseline; co-occurrences are counted once for the whole grid."""

    name: ClassVar[str] = "itemknn"
    seeded: ClassVar[bool] = False
    settings_type: ClassVar[type[Settings]] = KnnSettings
    axes: ClassVar[Mapping[str, Sequence[Any]]] = {
        "neighbours": (20, 50, 100, 200, 400),
        "shrink": (0.0, 10.0, 100.0),
    }

    def __init__(self, dataset: Dataset) -> None:
        self.history, self.num_items = dataset.histories(Split.TRAIN), dataset.num_items
        self.counts = co_occurrence(self.history, self.num_items)

    def fit(self, settings: KnnSettings, seed: int) -> MatrixScorer:
        """Keep the nearest neighbours."""
        return knn_scorer(self.history, self.num_items, settings, self.counts)


KNN_GRID = [(n, s) for n in ItemKnn.axes["neighbours"] for s in ItemKnn.axes["shrink"]]
"""(neighbours, shrinkage) pairs tried on the validation split."""


def knn_scorer(
    history: Histories, num_items: int, settings: KnnSettings, counts: csr_matrix
) -> MatrixScorer:
    """Score items by their summed similarity to the user's items.

    Items with equal scores, most of all those without any similarity, come by training count: with
    short histories few items have a similarity at all, and popularity is the better guess.
    """
    users = interaction_matrix(history, num_items)
    popularity = np.bincount(history.item_rows, minlength=num_items)
    tie_break = 1e-9 * popularity / max(int(popularity.max(initial=0)), 1)
    graph = item_similarity(history, num_items, settings.neighbours, settings.shrink, counts)

    def score(rows: Rows) -> Scores:
        return np.asarray((users[rows] @ graph.T).todense()) + tie_break

    return MatrixScorer(history, score)


def item_knn(
    history: Histories,
    num_items: int,
    user_rows: Rows,
    k: int,
    knn: tuple[int, float],
    counts: csr_matrix | None = None,
) -> Rows:
    """Rank items by `knn_scorer`: ``[n, k]``; ``counts`` where `co_occurrence` is known already."""
    counts = co_occurrence(history, num_items) if counts is None else counts
    settings = KnnSettings(neighbours=knn[0], shrink=knn[1])
    return knn_scorer(history, num_items, settings, counts).rank(user_rows, k)


def co_occurrence(history: Histories, num_items: int) -> csr_matrix:
    """Return how many users have both of two items: ``[N, N]``, sparse."""
    users = interaction_matrix(history, num_items)
    return (users.T @ users).tocsr()


def item_similarity(
    history: Histories,
    num_items: int,
    neighbours: int,
    shrink: float,
    counts: csr_matrix | None = None,
) -> csr_matrix:
    """Return the similarity of every item (row) to its nearest ones.

    ::

        s_ij = users with both / (sqrt(users with i) sqrt(users with j) + shrink)
        each row keeps its largest `neighbours` entries, itself excluded

    Shrinkage keeps pairs of items with one user in common from looking identical.
    """
    counts = co_occurrence(history, num_items) if counts is None else counts
    norms = np.sqrt(np.bincount(history.item_rows, minlength=num_items).astype(np.float64))
    blocks = []
    for begin in range(0, num_items, BATCH):
        rows = np.arange(begin, min(begin + BATCH, num_items))
        block = np.asarray(counts[rows].todense())
        block /= np.maximum(norms[rows, None] * norms + shrink, 1e-12)
        block[np.arange(len(rows)), rows] = 0.0
        if neighbours < num_items:
            least = np.partition(block, num_items - neighbours, axis=1)
            block[block < least[:, num_items - neighbours, None]] = 0.0
        blocks.append(csr_matrix(block))
    return vstack(blocks, format="csr")


def best_knn(
    history: Histories, valid: Histories, num_items: int, counts: csr_matrix | None = None
) -> tuple[int, float]:
    """Choose neighbourhood size and shrinkage by NDCG@20 on the validation split only."""
    counts = co_occurrence(history, num_items) if counts is None else counts
    grid = grid_of(KnnSettings, ItemKnn.axes, ItemKnn.name)
    best, _ = tune(grid, lambda knn: knn_scorer(history, num_items, knn, counts), history, valid)
    return best.neighbours, best.shrink
