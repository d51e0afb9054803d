"""The protocol: who is counted, what is excluded, what is reported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mmgrec.data.dataset import Dataset, Split
from mmgrec.evaluation.engine_rank import engine_rank
from mmgrec.evaluation.protocol import evaluate
from mmgrec_engine.engine import Engine
from mmgrec_engine.errors import DataError
from tests_shared import make_dataset


def test_a_perfect_ranking_scores_one() -> None:
    data = make_dataset()
    relevant = data.histories(Split.TEST)

    def perfect(rows: np.ndarray) -> np.ndarray:
        top = np.full((len(rows), 20), -1)
        for i, row in enumerate(rows):
            items = relevant.of(int(row))[:20]
            top[i, : len(items)] = items
        return top

    figures = evaluate(data, Split.TEST, perfect)
    assert figures["recall@20"] == figures["ndcg@20"] == 1.0
    assert figures["users"] == int((relevant.lengths > 0).sum())
    assert set(figures["baselines"]) == {"popular", "itemknn"}
    assert 0 < figures["baselines"]["popular"]["recall@20"] <= 1


def test_users_without_history_get_the_most_popular_items() -> None:
    data = make_dataset()
    cold = pl.when(pl.col("user_row") == 0).then(2).otherwise(pl.col("split")).cast(pl.Int8)
    rows = data.interactions.with_columns(cold.alias("split"))
    made = Dataset(data.name, data.users, data.items, rows, {})

    def rank(rows: np.ndarray) -> np.ndarray:
        assert 0 not in rows
        return np.full((len(rows), 20), -1)

    figures = evaluate(made, Split.TEST, rank)
    assert figures["recall@20"] > 0


def test_engine_as_ranking_function(dataset: Dataset, run_folder: Path) -> None:
    rank = engine_rank(Engine.load(run_folder), dataset, beam_width=20)
    top = rank(np.array([3, 0, 41]))
    train = dataset.histories(Split.TRAIN)
    for row, items in zip((3, 0, 41), top, strict=True):
        assert len(set(items.tolist())) == 20
        assert not set(items.tolist()) & set(train.of(row).tolist())


def test_empty_split_is_an_error() -> None:
    data = make_dataset()
    only_train = data.interactions.filter(pl.col("split") == 0)
    made = Dataset(data.name, data.users, data.items, only_train, {})
    with pytest.raises(DataError, match="test split is empty"):
        evaluate(made, Split.TEST, lambda rows: rows)
