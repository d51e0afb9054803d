"""The paired bootstrap: finds planted differences, is silent where there are none."""

from __future__ import annotations

import numpy as np
import pytest

from mmgrec.evaluation.bootstrap import Difference, paired_bootstrap


def compare(ours: np.ndarray, other: np.ndarray, resamples: int, seed: int = 0) -> Difference:
    (found,) = paired_bootstrap(ours[:, None], other[:, None], resamples=resamples, seed=seed)
    return found


def test_a_planted_difference_is_found() -> None:
    rng = np.random.default_rng(0)
    other = rng.random(400)
    ours = other + rng.normal(0.05, 0.2, 400)
    found = compare(ours, other, resamples=10_000)
    assert found.mean == pytest.approx((ours - other).mean())
    assert found.low > 0
    assert found.p < 0.001
    error = (ours - other).std() / 20
    assert found.low == pytest.approx(found.mean - 1.96 * error, abs=0.1 * error)
    assert found.high == pytest.approx(found.mean + 1.96 * error, abs=0.1 * error)
    reverse = compare(other, ours, resamples=10_000)
    assert reverse.high < 0
    assert reverse.mean == pytest.approx(-found.mean)


def test_equal_methods_are_equal() -> None:
    scores = np.random.default_rng(0).random(50)
    found = compare(scores, scores, resamples=10_000)
    assert (found.mean, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_pairing_sees_what_the_spread_over_users_hides() -> None:
    rng = np.random.default_rng(1)
    other = rng.normal(0, 10, 200)
    found = compare(other + 0.01, other, resamples=10_000)
    assert found.low == pytest.approx(0.01)
    assert found.p < 0.001


def test_false_alarms_are_as_rare_as_stated() -> None:
    rng = np.random.default_rng(2)
    p = [
        compare(rng.random(80), rng.random(80), resamples=1000, seed=trial).p
        for trial in range(400)
    ]
    assert 0.02 < np.mean(np.array(p) < 0.05) < 0.09
    assert 0.4 < np.mean(p) < 0.6


def test_the_draws_depend_on_the_seed_alone() -> None:
    ours, other = np.random.default_rng(3).random((2, 30))
    first, again, second = (compare(ours, other, resamples=10_000, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first != second


def test_columns_are_compared_on_the_same_draws() -> None:
    ours, other = np.random.default_rng(4).random((2, 300, 3))
    together = paired_bootstrap(ours, other, resamples=30_000)
    for column in range(3):
        alone = compare(ours[:, column], other[:, column], resamples=30_000)
        assert together[column].low == pytest.approx(alone.low)
        assert together[column].p == alone.p


def test_the_mean_of_a_resample_is_the_mean_of_what_was_drawn() -> None:
    # Two users, differences 0 and 1: a resample's mean is 0, .5 or 1 with 1/4, 1/2, 1/4.
    found = compare(np.array([0.0, 1.0]), np.zeros(2), resamples=10_000)
    assert (found.mean, found.low, found.high) == (0.5, 0.0, 1.0)
    assert found.p == pytest.approx(0.5, abs=0.02)
