"""Baselines that every result is shown beside: most popular, and item-based nearest neighbours."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.neighbors import NearestNeighbors

from mmgrec.data.histories import Histories
from mmgrec.evaluation.metrics import per_user_metrics

NEIGHBOURS = (20, 50, 100, 200)
"""Neighbourhood sizes tried on the validation split."""
BATCH = 1024

Rows = NDArray[np.int64]


def most_popular(history: Histories, num_items: int, user_rows: Rows, k: int) -> Rows:
    """Rank items by training count (ties to the lower row) without the user's own: ``[n, k]``."""
    scores = np.bincount(history.item_rows, minlength=num_items).astype(np.float64)
    parts = [
        _top(np.tile(scores, (len(part), 1)), history, part, k) for part in _batches(user_rows)
    ]
    return np.concatenate(parts)


def item_knn(history: Histories, num_items: int, user_rows: Rows, k: int, neighbours: int) -> Rows:
    """Rank items by their summed cosine to the user's items, nearest ones only: ``[n, k]``."""
    users = interaction_matrix(history, num_items)
    count = min(neighbours + 1, num_items)
    search: Any = NearestNeighbors(n_neighbors=count, metric="cosine").fit(users.T.tocsr())
    graph = search.kneighbors_graph(mode="distance")
    graph.data = 1.0 - graph.data
    graph.setdiag(0.0)
    parts = [
        _top(np.asarray((users[part] @ graph.T).todense()), history, part, k)
        for part in _batches(user_rows)
    ]
    return np.concatenate(parts)


def best_neighbours(history: Histories, valid: Histories, num_items: int) -> int:
    """Choose the neighbourhood size by NDCG@20 on the validation split only."""
    rows = np.flatnonzero((valid.lengths > 0) & (history.lengths > 0))
    if len(rows) == 0:
        return NEIGHBOURS[1]
    scores = {}
    for size in NEIGHBOURS:
        top = item_knn(history, num_items, rows, 20, size)
        scores[size] = float(per_user_metrics(top, valid, rows)["ndcg@20"].to_numpy().mean())
    return max(scores, key=lambda size: scores[size])


def interaction_matrix(history: Histories, num_items: int) -> csr_matrix:
    """Return the user-item matrix of ones."""
    values = np.ones(len(history.item_rows))
    shape = (history.num_users, num_items)
    return csr_matrix((values, history.item_rows, history.offsets), shape=shape)


def _batches(rows: Rows) -> list[Rows]:
    return [rows[i : i + BATCH] for i in range(0, len(rows), BATCH)] or [rows]


def _top(scores: NDArray[np.float64], history: Histories, rows: Rows, k: int) -> Rows:
    for i, row in enumerate(rows):
        scores[i, history.of(int(row))] = -np.inf
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    order[np.take_along_axis(scores, order, axis=1) == -np.inf] = -1
    padded = np.full((len(rows), k), -1, np.int64)
    padded[:, : order.shape[1]] = order
    return padded
