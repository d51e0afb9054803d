"""Candidates of a beam search, ordered by two scores."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest

from mmgrec.data.dataset import Dataset, Split
from mmgrec.evaluation.engine_rank import EngineRank
from mmgrec.experiments.reranked import SHARES, Reranked
from tests_shared import make_dataset


class Lists:
    """An engine that finds the same three items for everybody, and no fourth one."""

    def lists(self, rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        top = np.tile(np.array([2, 0, 1, -1]), (len(rows), 1))
        scores = np.tile(np.array([-1.0, -2.0, -3.0, -np.inf], np.float32), (len(rows), 1))
        return top, scores


def reranked(share: float) -> Reranked:
    users = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    items = np.array([[0.5, 0.2], [2.0, 0.1], [0.1, 0.9]], np.float32)
    return Reranked(cast(EngineRank, Lists()), users, items, 2.0, share)


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (0.0, [[2, 0, 1, -1], [2, 0, 1, -1]]),  # as generated
        (1.0, [[1, 0, 2, -1], [2, 0, 1, -1]]),  # by 2 x dot products: 1, 4, .2 and .4, .2, 1.8
        (0.5, [[1, 2, 0, -1], [2, 0, 1, -1]]),  # sums: -1, 1, -.8
    ],
)
def test_both_scores_order_the_candidates(share: float, expected: list[list[int]]) -> None:
    assert reranked(share).rank(np.arange(2), 4).tolist() == expected


def test_no_more_than_asked_for() -> None:
    assert reranked(0.0).rank(np.arange(2), 2).tolist() == [[2, 0], [2, 0]]


class Oracle:
    """An engine that puts a validation item before item 0."""

    def __init__(self, dataset: Dataset) -> None:
        self.relevant = dataset.histories(Split.VALID)

    def lists(self, rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        top = np.array([[self.relevant.of(int(row))[0], 0] for row in rows], np.int64)
        return top, np.tile(np.array([-1.0, -9.0], np.float32), (len(rows), 1))


def test_the_share_is_the_one_that_ranks_validation_best() -> None:
    dataset = make_dataset()
    items = np.zeros((dataset.num_items, 2), np.float32)
    items[0] = 1.0  # the dense score always wants item 0
    users = np.ones((dataset.num_users, 2), np.float32)
    best = Reranked(cast(EngineRank, Oracle(dataset)), users, items, 100.0).tuned(dataset)
    assert best.share == SHARES[0]
