"""The evaluation protocol: full catalogue, training items excluded, beside baselines."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.markup import escape
from rich.table import Table

from mmgrec.data.dataset import Dataset, Split
from mmgrec.data.histories import Histories
from mmgrec.evaluation.baselines import (
    CoOccurrence,
    Rows,
    Scorer,
    item_knn,
    most_popular,
    tuned_knn,
)
from mmgrec.evaluation.metrics import summary

K = 20


@dataclass(frozen=True)
class HeldOut:
    """The users of a split and what they should be recommended.

    ``rows`` ``[n]``: users with at least one item in the split. ``popular`` ``[n, 20]``: the most
    popular items that these users do not have in training.
    """

    num_items: int
    history: Histories
    relevant: Histories
    rows: Rows
    popular: Rows

    @classmethod
    def of(cls, dataset: Dataset, split: Split) -> HeldOut:
        """Take a split; an empty one is a `DataError`."""
        history, relevant = dataset.histories(Split.TRAIN), dataset.held_out(split)
        rows = np.flatnonzero(relevant.lengths)
        popular = most_popular(history, dataset.num_items, rows, K)
        return cls(dataset.num_items, history, relevant, rows, popular)

    def rank(self, scorer: Scorer) -> Rows:
        """Return every user's ranking ``[n, 20]``; users without history get popular items."""
        known = self.history.lengths[self.rows] > 0
        top = self.popular.copy()
        top[known] = scorer.rank(self.rows[known], K)
        return top

    def summary(self, top: Rows) -> dict[str, float]:
        """Return the means over all users of the split."""
        return summary(top, self.relevant, self.rows, self.num_items)


def evaluate(
    dataset: Dataset, split: Split, scorer: Scorer, known: Dataset | None = None
) -> dict[str, Any]:
    """Evaluate a method on the users of a split.

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
    scorer : baselines.base.Scorer
        Asked for users with training items only.
    known : Dataset, optional
        Whose training items are the histories, of ItemKNN as well, where more is known by then
        than what was trained on: with validation items when test items come.

    Returns
    -------
    dict
        The object of ``mmgrec evaluate --json``. ItemKNN is tuned on validation; of a refit, before
        the validation items joined the training items that it learns from.
    """
    held_out, refit = HeldOut.of(known or dataset, split), dataset.selection is not dataset
    started = time.monotonic()
    ours = held_out.summary(held_out.rank(scorer))
    seconds = time.monotonic() - started
    return {
        "dataset": dataset.name,
        "split": split.name.lower(),
        "users": len(held_out.rows),
        "with_valid": known is not None or refit,
        "refit": refit,
        **ours,
        "baselines": _baselines(dataset, held_out),
        "seconds": seconds,
    }


def _baselines(dataset: Dataset, held_out: HeldOut) -> dict[str, dict[str, float]]:
    train, num_items = dataset.histories(Split.TRAIN), held_out.num_items
    counts = CoOccurrence(train, num_items)  # shown or not, nobody learns from other splits
    knn = tuned_knn(dataset, counts)
    neighbours = item_knn(held_out.history, num_items, held_out.rows, K, knn, counts)
    return {
        "popular": held_out.summary(held_out.popular),
        "itemknn": held_out.summary(neighbours) | knn.model_dump(),
    }


def evaluation_table(figures: dict[str, Any]) -> Table:
    """Lay the figures out beside the baselines."""
    popular, knn = figures["baselines"]["popular"], figures["baselines"]["itemknn"]
    caption = (
        f"ItemKNN with {knn['neighbours']} neighbours, shrinkage {knn['shrink']:g} and users "
        f"weighted by n^-{knn['user_power']:g}, chosen on the validation split"
    )
    if "certified" in figures:
        caption += f"; exact search, {figures['certified']:.1%} of the lists proved"
    title = f"{figures['dataset']}, {figures['split']} split, {figures['users']:,} users"
    if figures["refit"]:
        title += ", validation items trained on"
    elif figures["with_valid"]:
        title += ", validation items shown"
    table = Table(
        title=escape(title),
        caption=caption,
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
