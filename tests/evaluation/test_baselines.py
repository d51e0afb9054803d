"""Baselines against plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from mmgrec.data.dataset import Dataset, Split
from mmgrec.data.histories import Histories
from mmgrec.evaluation.baselines import KNN_GRID, best_knn, item_knn, item_similarity, most_popular

HISTORY = Histories(np.array([0, 3, 5, 6]), np.array([0, 1, 2, 1, 2, 2], np.int32))


def test_most_popular_leaves_out_the_users_own() -> None:
    top = most_popular(HISTORY, 5, np.array([1, 2, 0]), 3)
    assert top.tolist() == [[0, 3, 4], [1, 0, 3], [3, 4, -1]]


def test_item_knn_sums_cosines_of_neighbours() -> None:
    rng = np.random.default_rng(0)
    matrix = (rng.random((40, 12)) < 0.3).astype(float)
    users, items = np.nonzero(matrix)
    history = Histories.of_pairs(users.astype(np.int32), items.astype(np.int32), 40)
    norms = np.maximum(np.linalg.norm(matrix, axis=0), 1e-12)
    cosine = (matrix.T @ matrix) / (norms[:, None] * norms + 2.0)
    np.fill_diagonal(cosine, 0)
    scores = matrix @ cosine
    scores[matrix > 0] = -np.inf
    top = item_knn(history, 12, np.arange(40), 3, (12, 2.0))
    for user in range(40):
        chosen = top[user][top[user] >= 0]
        best = np.sort(scores[user])[::-1][: len(chosen)]
        assert np.allclose(scores[user][chosen], best)


def test_neighbourhood_is_chosen_on_validation(dataset: Dataset) -> None:
    history, valid = (dataset.histories(split) for split in (Split.TRAIN, Split.VALID))
    assert best_knn(history, valid, dataset.num_items) in KNN_GRID


def test_only_the_nearest_neighbours_are_kept() -> None:
    graph = item_similarity(HISTORY, 5, 1, 0.0).toarray()
    assert graph[0].tolist() == [0.0, 1 / np.sqrt(2), 0.0, 0.0, 0.0]
    assert graph[2, 1] == pytest.approx(2 / np.sqrt(6))
    assert (graph[3:] == 0).all()
