"""The protocol: who is counted, what is excluded, what is reported."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mmgrec.data.dataset import Dataset, Split
from mmgrec.evaluation.baselines import Popular, Settings
from mmgrec.evaluation.engine_rank import EngineRank
from mmgrec.evaluation.protocol import evaluate
from mmgrec_engine.engine import Engine
from mmgrec_engine.errors import DataError
from tests_shared import make_dataset


def test_a_perfect_ranking_scores_one() -> None:
    data = make_dataset()
    relevant = data.histories(Split.TEST)

    class Perfect:
        def rank(self, user_rows: np.ndarray, k: int) -> np.ndarray:
            top = np.full((len(user_rows), k), -1)
            for i, row in enumerate(user_rows):
                items = relevant.of(int(row))[:k]
                top[i, : len(items)] = items
            return top

    figures = evaluate(data, Split.TEST, Perfect())
    assert figures["recall@20"] == figures["ndcg@20"] == 1.0
    assert figures["users"] == int((relevant.lengths > 0).sum())
    assert set(figures["baselines"]) == {"popular", "itemknn"}
    assert 0 < figures["baselines"]["popular"]["recall@20"] <= 1


def test_users_without_history_get_the_most_popular_items() -> None:
    data = make_dataset()
    cold = pl.when(pl.col("user_row") == 0).then(2).otherwise(pl.col("split")).cast(pl.Int8)
    rows = data.interactions.with_columns(cold.alias("split"))
    made = Dataset(data.name, data.users, data.items, rows, {})

    class Nothing:
        def rank(self, user_rows: np.ndarray, k: int) -> np.ndarray:
            assert 0 not in user_rows
            return np.full((len(user_rows), k), -1)

    figures = evaluate(made, Split.TEST, Nothing())
    assert figures["recall@20"] > 0


def test_validation_items_can_be_known_when_test_items_come(
    dataset: Dataset, run_folder: Path
) -> None:
    known = dataset.knowing(Split.VALID)
    together = dataset.histories(Split.TRAIN, Split.VALID)
    assert known.histories(Split.TRAIN).offsets.tolist() == together.offsets.tolist()
    assert known.histories(Split.TRAIN).item_rows.tolist() == together.item_rows.tolist()
    assert not len(known.histories(Split.VALID).item_rows)
    engine = EngineRank(Engine.load(run_folder), known, 10)
    rows = np.flatnonzero(dataset.histories(Split.TEST).lengths)
    for row, top in zip(rows, engine.rank(rows, 20), strict=True):
        assert not set(together.of(int(row)).tolist()) & set(top.tolist())
    figures = evaluate(dataset, Split.TEST, engine, known)
    assert figures["with_valid"] is True
    plain = evaluate(dataset, Split.TEST, EngineRank(engine.engine, dataset, 10))
    assert plain["with_valid"] is False
    # Tuned alike, on what was known at validation.
    tuned = [f["baselines"]["itemknn"] for f in (figures, plain)]
    for name in ("neighbours", "shrink", "user_power"):
        assert tuned[0][name] == tuned[1][name]


def test_items_that_came_and_went_after_training(
    dataset: Dataset, run_folder: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(run_folder, run)
    rows = np.arange(20)
    with closing(Engine.load(run)) as engine:
        plain = EngineRank(engine, dataset, beam_width=20).rank(rows, 5)
        best = dataset.items["item"][int(plain[0, 0])]
        twin = engine.state.vectors[engine.item_ids.rows([best], "items")]
        engine.insert(["a later item"], vectors=twin)
        histories = [dataset.items["item"][dataset.histories(Split.TRAIN).of(0)].to_list()]
        assert "a later item" in engine.recommend(histories, k=40, beam_width=40).items[0]
        assert (EngineRank(engine, dataset, beam_width=20).rank(rows, 5) >= 0).all()
        engine.delete([best])
        engine.compact()
    scorer = EngineRank(Engine.load(run), dataset, beam_width=20)
    assert plain[0, 0] not in scorer.rank(rows, 5)
    assert 0 < evaluate(dataset, Split.TEST, scorer)["recall@20"] <= 1


def test_engine_as_scorer(dataset: Dataset, run_folder: Path) -> None:
    scorer = EngineRank(Engine.load(run_folder), dataset, beam_width=20)
    top = scorer.rank(np.array([3, 0, 41]), 20)
    train = dataset.histories(Split.TRAIN)
    for row, items in zip((3, 0, 41), top, strict=True):
        assert len(set(items.tolist())) == 20
        assert not set(items.tolist()) & set(train.of(row).tolist())


def test_empty_split_is_an_error() -> None:
    data = make_dataset()
    only_train = data.interactions.filter(pl.col("split") == 0)
    made = Dataset(data.name, data.users, data.items, only_train, {})
    with pytest.raises(DataError, match="test split is empty"):
        evaluate(made, Split.TEST, Popular(made).fit(Settings(), 0))


def test_exact_search_proves_every_list(dataset: Dataset, run_folder: Path) -> None:
    rows = np.arange(20)
    tops = {}
    for exact in (False, True):
        scorer = EngineRank(Engine.load(run_folder), dataset, beam_width=1, exact=exact)
        tops[exact] = scorer.rank(rows, 5)
        assert scorer.asked == 20
        if exact:
            assert scorer.certified_share == 1.0
        else:
            assert scorer.certified_share < 1.0
    wide = EngineRank(Engine.load(run_folder), dataset, beam_width=40)
    assert (wide.rank(rows, 5) == tops[True]).all()
    assert (tops[False] != tops[True]).any()
