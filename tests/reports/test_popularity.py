"""Recall and exposure by popularity, against counting pair by pair."""

from __future__ import annotations

import numpy as np
import pytest

from mmgrec.data.dataset import Dataset, Split
from mmgrec.reports.lists import Audience
from mmgrec.reports.popularity import popularity_bias, recall_by_training_count


def test_recall_by_training_count_is_that_of_the_pairs(dataset: Dataset) -> None:
    audience = Audience.of_split(dataset, Split.TEST)
    tops = {"popular": audience.popular()}
    buckets = recall_by_training_count(audience, tops)
    for bucket in buckets:
        high = np.inf if bucket["to"] is None else bucket["to"]
        found = [
            item in top[:20]
            for user, top in zip(audience.rows, tops["popular"], strict=True)
            for item in audience.relevant.of(int(user))
            if bucket["from"] <= audience.counts[item] <= high
        ]
        assert bucket["interactions"] == len(found)
        assert bucket["recall@20"]["popular"] == pytest.approx(np.mean(found))
        inside = (audience.counts >= bucket["from"]) & (audience.counts <= high)
        assert bucket["items"] == inside.sum()
    total = sum(bucket["interactions"] for bucket in buckets)
    assert total == audience.relevant.lengths[audience.rows].sum()


def test_popular_items_take_the_first_groups(dataset: Dataset) -> None:
    audience = Audience.of_split(dataset, Split.TEST)
    bias = popularity_bias(audience, {"popular": audience.popular()})
    for share in bias["share"].values():
        assert len(share) == 10
        assert sum(share) == pytest.approx(1)
    assert bias["share"]["training"] == sorted(bias["share"]["training"], reverse=True)
    assert bias["share"]["popular"][0] > 3 * bias["share"]["popular"][-1]
    assert bias["gini"]["popular"] > bias["gini"]["training"]
