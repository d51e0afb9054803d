"""Metrics against a plain restatement."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mmgrec.data.histories import Histories
from mmgrec.evaluation.metrics import coverage, per_user_metrics, summary


def restated(ranked: list[int], truth: set[int], k: int) -> tuple[float, float, float]:
    hits = [rank for rank, item in enumerate(ranked[:k]) if item in truth]
    ideal = sum(1 / math.log2(rank + 2) for rank in range(min(k, len(truth))))
    dcg = sum(1 / math.log2(rank + 2) for rank in hits)
    return len(hits) / len(truth), dcg / ideal, len(hits) / k


def test_against_the_restatement() -> None:
    rng = np.random.default_rng(0)
    truth = [np.unique(rng.integers(0, 60, rng.integers(1, 40))) for _ in range(25)]
    offsets = np.cumsum([0, *(len(t) for t in truth)])
    relevant = Histories(offsets, np.concatenate(truth).astype(np.int32))
    top = np.array([rng.permutation(60)[:20] for _ in range(25)])
    top[3, 4:] = -1
    table = per_user_metrics(top, relevant, np.arange(25))
    for user in range(25):
        ranked = [int(i) for i in top[user] if i >= 0]
        for k in (10, 20):
            recall, ndcg, precision = restated(ranked, set(truth[user].tolist()), k)
            assert table[f"recall@{k}"][user] == pytest.approx(recall)
            assert table[f"ndcg@{k}"][user] == pytest.approx(ndcg)
            if k == 20:
                assert table["precision@20"][user] == pytest.approx(precision)


def test_users_without_any_hit_count_as_zero() -> None:
    relevant = Histories(np.array([0, 1, 2]), np.array([7, 8], np.int32))
    figures = summary(np.array([[7, 1], [1, 2]]), relevant, np.arange(2), 10)
    assert figures["recall@20"] == 0.5
    assert figures["ndcg@10"] == 0.5


def test_coverage_counts_distinct_items() -> None:
    assert coverage(np.array([[0, 1], [1, -1]]), 8) == 0.25
