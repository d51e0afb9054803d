"""The score of early stopping equals the reported one."""

from __future__ import annotations

import numpy as np
import pytest

from mmgrec.data.histories import Histories, spread
from mmgrec.evaluation.metrics import per_user_metrics
from mmgrec.training.validation import ndcg_at


def test_equals_the_reported_ndcg() -> None:
    rng = np.random.default_rng(0)
    users, items = np.repeat(np.arange(30), 4).astype(np.int32), rng.integers(0, 50, 120)
    relevant = Histories.of_pairs(users, items.astype(np.int32), 30)
    top = np.array([rng.permutation(50)[:20] for _ in range(30)])
    unique = Histories(
        np.concatenate([[0], np.cumsum([len(set(relevant.of(u).tolist())) for u in range(30)])]),
        np.concatenate([np.unique(relevant.of(u)) for u in range(30)]),
    )
    reported = per_user_metrics(top, unique, np.arange(30))["ndcg@20"].to_numpy().mean()
    assert ndcg_at(top, unique, np.arange(30)) == pytest.approx(float(reported))


def test_spread_takes_rows_from_everywhere() -> None:
    assert spread(np.arange(5), 10).tolist() == [0, 1, 2, 3, 4]
    assert spread(np.arange(101), 3).tolist() == [0, 50, 100]
