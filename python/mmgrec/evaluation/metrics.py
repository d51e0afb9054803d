"""Ranking metrics by the ir-measures library."""

from __future__ import annotations

import ir_measures
import numpy as np
import polars as pl
from ir_measures import P, R, nDCG
from numpy.typing import NDArray

from mmgrec.data.histories import Histories

MEASURES = {
    "recall@10": R @ 10,
    "recall@20": R @ 20,
    "ndcg@10": nDCG @ 10,
    "ndcg@20": nDCG @ 20,
    "precision@20": P @ 20,
}


def per_user_metrics(
    top: NDArray[np.int64], relevant: Histories, user_rows: NDArray[np.int64]
) -> pl.DataFrame:
    """Return every metric of every user: columns "user_row" and the names of `MEASURES`.

    ::

        recall@k = relevant items among the first k / relevant items
        ndcg@k   = sum over relevant ranks r <= k of 1 / log2(r + 1), over the best possible sum
                   (that of min(k, relevant items) items at the top)
        precision@k = relevant items among the first k / k

    Parameters
    ----------
    top : array
        ``[n, k]`` item rows, best first; -1 for none.
    relevant : Histories
        Relevant items of all users.
    user_rows : array
        ``[n]`` users of the rows of ``top``, each with at least one relevant item.

    Notes
    -----
    Definitions as in trec_eval, which ir-measures runs. Scores are given as -rank, so ties and
    float scores cannot reorder our lists.
    """
    names = [str(row) for row in user_rows]
    qrels = {
        name: {str(item): 1 for item in relevant.of(int(row))}
        for name, row in zip(names, user_rows, strict=True)
    }
    run = {
        name: {str(item): -float(rank) for rank, item in enumerate(ranked) if item >= 0}
        for name, ranked in zip(names, top, strict=True)
    }
    columns = {name: np.zeros(len(names)) for name in MEASURES}
    place = {name: i for i, name in enumerate(names)}
    label = {measure: name for name, measure in MEASURES.items()}
    for metric in ir_measures.iter_calc(list(MEASURES.values()), qrels, run):
        columns[label[metric.measure]][place[metric.query_id]] = metric.value
    return pl.DataFrame({"user_row": user_rows, **columns})


def coverage(top: NDArray[np.int64], num_items: int) -> float:
    """Return the share of the catalogue that is recommended to anyone."""
    return len(np.unique(top[top >= 0])) / num_items if num_items else 0.0


def summary(
    top: NDArray[np.int64],
    relevant: Histories,
    user_rows: NDArray[np.int64],
    num_items: int,
) -> dict[str, float]:
    """Return the means over users of `per_user_metrics`, and coverage@20."""
    table = per_user_metrics(top, relevant, user_rows)
    figures = {name: float(table[name].to_numpy().mean()) for name in MEASURES}
    return {**figures, "coverage@20": coverage(top[:, :20], num_items)}
