"""What is read off the lists, against counting by hand."""

from __future__ import annotations

import numpy as np
import pytest

from mmgrec.data.dataset import Dataset, Split
from mmgrec.evaluation.metrics import per_user_metrics
from mmgrec.reports.lists import LONGEST, MOST_USERS, Audience, coverage_curve, exposure, gini
from mmgrec_engine.errors import DataError
from tests_shared import make_dataset


def test_the_recall_curve_goes_through_the_reported_recall(dataset: Dataset) -> None:
    audience = Audience.of_split(dataset, Split.TEST)
    top = audience.popular()
    assert top.shape == (len(audience.rows), LONGEST)
    curve = audience.recall_curve(top)
    metrics = per_user_metrics(top[:, :20], audience.relevant, audience.rows)
    for k in (10, 20):
        assert curve[k - 1] == pytest.approx(metrics[f"recall@{k}"].to_numpy().mean())
    assert curve == sorted(curve)


def test_places_without_an_item_hit_nothing(dataset: Dataset) -> None:
    audience = Audience.of_split(dataset, Split.VALID)
    nothing = np.full((len(audience.rows), 3), -1)
    assert not audience.hits(nothing).any()


def test_who_has_no_history_gets_popular_items(dataset: Dataset) -> None:
    audience = Audience.of_split(dataset, Split.VALID)
    new = int(audience.rows[2])
    emptied = dataset.histories(Split.TRAIN)
    lengths = emptied.lengths.copy()
    begin, end = emptied.offsets[new], emptied.offsets[new + 1]
    lengths[new] = 0
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    history = type(emptied)(offsets, np.delete(emptied.item_rows, np.arange(begin, end)))
    audience = Audience(history, audience.relevant, audience.rows, audience.of, audience.counts)
    asked = []

    class Nobody:
        def rank(self, user_rows: np.ndarray, k: int) -> np.ndarray:
            asked.extend(user_rows.tolist())
            return np.full((len(user_rows), k), -1)

    top = audience.rank(Nobody(), audience.popular())
    assert new not in asked
    assert len(asked) == len(audience.rows) - 1
    assert top[2].tolist() == audience.popular()[2].tolist()


def test_of_very_many_users_an_even_selection_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmgrec.reports.lists.MOST_USERS", 10)
    audience = Audience.of_split(make_dataset(), Split.TEST)
    everybody = np.flatnonzero(audience.relevant.lengths)
    assert MOST_USERS > len(everybody) == audience.of
    assert len(audience.rows) == 10
    assert (audience.rows[0], audience.rows[-1]) == (everybody[0], everybody[-1])


def test_an_empty_split_is_said(dataset: Dataset) -> None:
    with pytest.raises(DataError, match="test split is empty"):
        Audience.of_split(dataset.without(Split.TEST), Split.TEST)


def test_coverage_counts_an_item_from_its_best_place_on() -> None:
    top = np.array([[0, 1, 2], [0, 3, -1]])
    assert coverage_curve(top, 5) == pytest.approx([0.2, 0.6, 0.8])


def test_exposure_counts_the_first_twenty_places() -> None:
    top = np.tile(np.arange(25), (3, 1))
    top[0, 0] = -1
    assert exposure(top, 30).tolist() == [2, *[3] * 19, *[0] * 10]


def test_gini_of_equal_and_of_extreme_shares() -> None:
    assert gini(np.array([4, 4, 4])) == pytest.approx(0)
    assert gini(np.array([0, 0, 0, 8])) == pytest.approx(0.75)
    assert gini(np.zeros(3)) == 0
