"""Item-based nearest neighbours on co-occurrence, with shrinkage and weighted users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from pydantic import Field
from rich.console import Console
from rich.progress import Progress
from scipy.sparse import csr_matrix, diags

from mmgrec.data.dataset import Dataset, Split
from mmgrec.data.histories import Histories
from mmgrec.evaluation.baselines.base import (
    MatrixScorer,
    Rows,
    Scores,
    Settings,
    grid_of,
    interaction_matrix,
)
from mmgrec.evaluation.baselines.tuning import tune, validation_score


class KnnSettings(Settings):
    """Neighbours kept per item, shrinkage of similarities with little support, weight of users.

    A user with n items counts as n^-``user_power`` where two of them occur together. With 1, every
    user's rows have unit length (Deshpande and Karypis, "Item-Based Top-N Recommendation
    Algorithms", 2004), and a few users with hundreds of items do not drown all others.
    """

    neighbours: int = Field(ge=1)
    shrink: float = Field(ge=0)
    user_power: float = Field(default=0.0, ge=0)


class CoOccurrence:
    """How many users have both of two items; counted once per weight of users.

    Parameters
    ----------
    history : Histories
        Training items.
    num_items : int
        Size of the catalogue.
    """

    def __init__(self, history: Histories, num_items: int) -> None:
        self.users = interaction_matrix(history, num_items)
        self.lengths = np.maximum(history.lengths, 1)
        self._known: dict[float, csr_matrix] = {}

    def of(self, user_power: float) -> csr_matrix:
        """Return the weighted count ``[N, N]`` of every pair; the diagonal counts an item alone."""
        if user_power not in self._known:
            weights = diags(self.lengths**-user_power)
            counts = (self.users.T @ weights @ self.users).tocsr()
            counts.sort_indices()
            self._known[user_power] = counts
        return self._known[user_power]


class ItemKnn:
    """ItemKNN as a baseline."""

    name: ClassVar[str] = "itemknn"
    seeded: ClassVar[bool] = False
    settings_type: ClassVar[type[Settings]] = KnnSettings
    axes: ClassVar[Mapping[str, Sequence[Any]]] = {
        "user_power": (0.0, 1.0),
        "neighbours": (20, 50, 100, 200, 400),
        "shrink": (0.0, 10.0, 100.0, 300.0),
    }

    def __init__(self, dataset: Dataset) -> None:
        self.history, self.num_items = dataset.histories(Split.TRAIN), dataset.num_items
        self.counts = CoOccurrence(self.history, self.num_items)

    def fit(self, settings: KnnSettings, seed: int) -> MatrixScorer:
        """Keep the nearest neighbours."""
        return knn_scorer(self.history, self.num_items, settings, self.counts)


KNN_GRID = grid_of(KnnSettings, ItemKnn.axes, ItemKnn.name)
"""What is tried on the validation split."""
TUNING_USERS = 32_768
"""Users that `best_knn` ranks for at every point of it; a table's tuning takes all. With 4,096 of
Amazon Beauty's 22,363 it chose a baseline that was 4 % worse on test."""


def knn_scorer(
    history: Histories, num_items: int, settings: KnnSettings, counts: CoOccurrence
) -> MatrixScorer:
    """Score items by their summed similarity to the user's items.

    Items with equal scores, most of all those without any similarity, come by training count: with
    short histories few items have a similarity at all, and popularity is the better guess.
    """
    popularity = np.bincount(history.item_rows, minlength=num_items)
    tie_break = 1e-9 * popularity / max(int(popularity.max(initial=0)), 1)
    pairs = counts.of(settings.user_power)
    similar = item_similarity(pairs, settings.neighbours, settings.shrink).T.tocsr()

    def score(rows: Rows) -> Scores:
        scores: Scores = (counts.users[rows] @ similar).toarray()
        scores += tie_break
        return scores

    return MatrixScorer(history, score)


def item_knn(
    history: Histories,
    num_items: int,
    user_rows: Rows,
    k: int,
    settings: KnnSettings,
    counts: CoOccurrence | None = None,
) -> Rows:
    """Rank items by `knn_scorer`: ``[n, k]``; give ``counts`` where they are known already."""
    counts = counts or CoOccurrence(history, num_items)
    return knn_scorer(history, num_items, settings, counts).rank(user_rows, k)


def item_similarity(counts: csr_matrix, neighbours: int, shrink: float) -> csr_matrix:
    """Return the similarity of every item (row) to its nearest ones.

    ::

        s_ij = c_ij / (sqrt(c_ii) sqrt(c_jj) + shrink)     c: weighted counts of `CoOccurrence`
        each row keeps its largest `neighbours` entries (and their equals), itself excluded

    Shrinkage keeps pairs of items with one user in common from looking identical.
    """
    norms = np.sqrt(counts.diagonal())
    rows = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
    values = counts.data / np.maximum(norms[rows] * norms[counts.indices] + shrink, 1e-12)
    values[rows == counts.indices] = 0.0
    for begin, end in zip(counts.indptr[:-1], counts.indptr[1:], strict=True):
        row = values[begin:end]
        if neighbours < len(row):
            row[row < np.partition(row, -neighbours)[-neighbours]] = 0.0
    graph = csr_matrix((values, counts.indices.copy(), counts.indptr.copy()), shape=counts.shape)
    graph.eliminate_zeros()
    return graph


def best_knn(
    history: Histories, valid: Histories, num_items: int, counts: CoOccurrence | None = None
) -> KnnSettings:
    """Choose neighbourhood, shrinkage and weight of users by NDCG@20 on validation only.

    Of at most `TUNING_USERS`, or the grid's forty points would take the time of forty evaluations.
    """
    known = counts or CoOccurrence(history, num_items)

    def score(settings: KnnSettings) -> float:
        scorer = knn_scorer(history, num_items, settings, known)
        found = validation_score(scorer, history, valid, TUNING_USERS)
        progress.advance(task)
        return found

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("tuning ItemKNN", total=len(KNN_GRID))
        return tune(KNN_GRID, score)


def tuned_knn(dataset: Dataset, counts: CoOccurrence) -> KnnSettings:
    """Choose on the validation items of a data set, before any of them joined training.

    ``counts``: of its training items.
    """
    before = dataset.selection
    return best_knn(
        before.histories(Split.TRAIN),
        before.histories(Split.VALID),
        dataset.num_items,
        counts if before is dataset else None,
    )
