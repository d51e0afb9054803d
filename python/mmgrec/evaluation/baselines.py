"""Baselines that every result is shown beside: most popular, and item-based nearest neighbours."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack

from mmgrec.data.histories import Histories
from mmgrec.evaluation.metrics import per_user_metrics

KNN_GRID = [(n, s) for n in (20, 50, 100, 200, 400) for s in (0.0, 10.0, 100.0)]
"""(neighbours, shrinkage) pairs tried on the validation split."""
BATCH = 1024

Rows = NDArray[np.int64]


def most_popular(history: Histories, num_items: int, user_rows: Rows, k: int) -> Rows:
    """Rank items by training count (ties to the lower row) without the user's own: ``[n, k]``."""
    scores = np.bincount(history.item_rows, minlength=num_items).astype(np.float64)
    parts = [
        _top(np.tile(scores, (len(part), 1)), history, part, k) for part in _batches(user_rows)
    ]
    return np.concatenate(parts)


def item_knn(
    history: Histories, num_items: int, user_rows: Rows, k: int, knn: tuple[int, float]
) -> Rows:
    """Rank items by their summed similarity to the user's items: ``[n, k]``.

    Items with equal scores, most of all those without any similarity, come by training count: with
    short histories few items have a similarity at all, and popularity is the better guess.
    """
    users = interaction_matrix(history, num_items)
    popularity = np.bincount(history.item_rows, minlength=num_items)
    tie_break = 1e-9 * popularity / max(int(popularity.max(initial=0)), 1)
    graph = item_similarity(history, num_items, *knn)
    parts = [
        _top(np.asarray((users[part] @ graph.T).todense()) + tie_break, history, part, k)
        for part in _batches(user_rows)
    ]
    return np.concatenate(parts)


def item_similarity(
    history: Histories, num_items: int, neighbours: int, shrink: float
) -> csr_matrix:
    """Return the similarity of every item (row) to its nearest ones.

    ::

        s_ij = users with both / (sqrt(users with i) sqrt(users with j) + shrink)
        each row keeps its largest `neighbours` entries, itself excluded

    Shrinkage keeps pairs of items with one user in common from looking identical.
    """
    columns = interaction_matrix(history, num_items).T.tocsr()
    norms = np.sqrt(np.bincount(history.item_rows, minlength=num_items).astype(np.float64))
    blocks = []
    for begin in range(0, num_items, BATCH):
        rows = np.arange(begin, min(begin + BATCH, num_items))
        block = np.asarray((columns[rows] @ columns.T).todense())
        block /= np.maximum(norms[rows, None] * norms + shrink, 1e-12)
        block[np.arange(len(rows)), rows] = 0.0
        if neighbours < num_items:
            least = np.partition(block, num_items - neighbours, axis=1)
            block[block < least[:, num_items - neighbours, None]] = 0.0
        blocks.append(csr_matrix(block))
    return vstack(blocks, format="csr")


def best_knn(history: Histories, valid: Histories, num_items: int) -> tuple[int, float]:
    """Choose neighbourhood size and shrinkage by NDCG@20 on the validation split only."""
    rows = np.flatnonzero((valid.lengths > 0) & (history.lengths > 0))
    if len(rows) == 0:
        return KNN_GRID[0]
    scores = {}
    for knn in KNN_GRID:
        top = item_knn(history, num_items, rows, 20, knn)
        scores[knn] = float(per_user_metrics(top, valid, rows)["ndcg@20"].to_numpy().mean())
    return max(scores, key=lambda knn: scores[knn])


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
