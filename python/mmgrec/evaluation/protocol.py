"""The evaluation protocol: full catalogue, training items excluded, beside baselines."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from mmgrec.data.dataset import Dataset, Split
from mmgrec.evaluation.baselines import best_knn, item_knn, most_popular
from mmgrec.evaluation.metrics import summary
from mmgrec_engine.errors import DataError

K = 20
Rows = NDArray[np.int64]
Rank = Callable[[Rows], Rows]


def evaluate(dataset: Dataset, split: Split, rank: Rank) -> dict[str, Any]:
    """Evaluate a ranking function on the users of a split.

    ::

        users    = those with at least one item in the split
        history  = their training items: shown to the model, excluded from the ranking;
                   users without any get the most popular items
        metrics  = means over these users; the same for most-popular and ItemKNN

    Parameters
    ----------
    dataset : Dataset
        Interactions with splits.
    split : Split
        VALID or TEST.
    rank : callable
        User rows ``[n]``, all with training items, to ranked item rows ``[n, 20]`` (-1 for none).

    Returns
    -------
    dict
        The object of ``mmgrec evaluate --json``. ItemKNN is tuned on validation.
    """
    history, relevant = dataset.histories(Split.TRAIN), dataset.histories(split)
    rows = np.flatnonzero(relevant.lengths)
    if len(rows) == 0:
        raise DataError(f"the {split.name.lower()} split is empty", value=dataset.name)
    known = history.lengths[rows] > 0
    popular = most_popular(history, dataset.num_items, rows, K)
    started = time.monotonic()
    top = popular.copy()
    top[known] = rank(rows[known])
    ours = summary(top, relevant, rows, dataset.num_items)
    seconds = time.monotonic() - started
    knn = best_knn(history, dataset.histories(Split.VALID), dataset.num_items)
    tops = {
        "popular": popular,
        "itemknn": item_knn(history, dataset.num_items, rows, K, knn),
    }
    baselines = {n: summary(top, relevant, rows, dataset.num_items) for n, top in tops.items()}
    baselines["itemknn"] |= {"neighbours": knn[0], "shrink": knn[1]}
    return {
        "dataset": dataset.name,
        "split": split.name.lower(),
        "users": len(rows),
        **ours,
        "baselines": baselines,
        "seconds": seconds,
    }


def evaluation_table(figures: dict[str, Any]) -> Table:
    """Lay the figures out beside the baselines."""
    popular, knn = figures["baselines"]["popular"], figures["baselines"]["itemknn"]
    table = Table(
        title=f"{figures['dataset']}, {figures['split']} split, {figures['users']:,} users",
        caption=(
            f"ItemKNN with {knn['neighbours']} neighbours and shrinkage {knn['shrink']:g}, "
            "chosen on the validation split"
        ),
    )
    for name in ("", "most popular", "ItemKNN", "mmgrec", "over popular"):
        table.add_column(name, justify="right" if name else "left")
    for metric in ("recall@10", "recall@20", "ndcg@10", "ndcg@20", "precision@20", "coverage@20"):
        ours, base = figures[metric], popular[metric]
        table.add_row(
            metric,
            f"{base:.4f}",
            f"{knn[metric]:.4f}",
            f"[bold]{ours:.4f}",
            f"{ours / base - 1:+.0%}" if base else "-",
        )
    return table
