"""Baselines without gradients, against plain formulas."""

from __future__ import annotations

import dataclasses

import numpy as np
import polars as pl
import pytest
from pydantic import Field

from mmgrec.data.dataset import Dataset, Split
from mmgrec.data.histories import Histories
from mmgrec.evaluation.baselines import (
    KNN_GRID,
    Baseline,
    CoOccurrence,
    Ease,
    ItemKnn,
    KnnSettings,
    Popular,
    Settings,
    best_knn,
    ease,
    grid_of,
    item_knn,
    item_similarity,
    most_popular,
    top_items,
    tune,
    validation_score,
)
from mmgrec.evaluation.metrics import per_user_metrics
from mmgrec_engine.errors import ConfigError, DataError
from tests_shared import make_dataset

HISTORY = Histories(np.array([0, 3, 5, 6]), np.array([0, 1, 2, 1, 2, 2], np.int32))


def test_top_items_break_ties_by_row() -> None:
    rng = np.random.default_rng(0)
    history = Histories(np.arange(0, 31, 3), rng.integers(0, 15, 30).astype(np.int32))
    scores = rng.integers(0, 4, (10, 15)).astype(float)
    for k in (1, 5, 15, 20):
        top = top_items(scores.copy(), history, np.arange(10), k)
        for user in range(10):
            left = [i for i in range(15) if i not in history.of(user)]
            expected = sorted(left, key=lambda item: (-scores[user, item], item))[:k]
            assert top[user].tolist() == expected + [-1] * (k - len(expected))


def test_most_popular_leaves_out_the_users_own() -> None:
    top = most_popular(HISTORY, 5, np.array([1, 2, 0]), 3)
    assert top.tolist() == [[0, 3, 4], [1, 0, 3], [3, 4, -1]]


@pytest.mark.parametrize("power", [0.0, 1.0])
def test_item_knn_sums_similarities_of_neighbours(power: float) -> None:
    rng = np.random.default_rng(0)
    matrix = (rng.random((40, 12)) < 0.3).astype(float)
    users, items = np.nonzero(matrix)
    history = Histories.of_pairs(users.astype(np.int32), items.astype(np.int32), 40)
    weighted = matrix / np.maximum(matrix.sum(1, keepdims=True), 1) ** (power / 2)
    norms = np.linalg.norm(weighted, axis=0)
    similarity = (weighted.T @ weighted) / (norms[:, None] * norms + 2.0)
    np.fill_diagonal(similarity, 0)
    scores = matrix @ similarity
    scores[matrix > 0] = -np.inf
    settings = KnnSettings(neighbours=12, shrink=2.0, user_power=power)
    top = item_knn(history, 12, np.arange(40), 3, settings)
    for user in range(40):
        chosen = top[user][top[user] >= 0]
        best = np.sort(scores[user])[::-1][: len(chosen)]
        assert np.allclose(scores[user][chosen], best)


def test_only_the_nearest_neighbours_are_kept() -> None:
    graph = item_similarity(CoOccurrence(HISTORY, 5).of(0.0), 1, 0.0).toarray()
    assert graph[0].tolist() == [0.0, 1 / np.sqrt(2), 0.0, 0.0, 0.0]
    assert graph[2, 1] == pytest.approx(2 / np.sqrt(6))
    assert (graph[3:] == 0).all()


def test_neighbourhood_is_the_best_of_the_grid_on_validation(dataset: Dataset) -> None:
    history, valid = (dataset.histories(split) for split in (Split.TRAIN, Split.VALID))
    chosen = best_knn(history, valid, dataset.num_items)
    knn = ItemKnn(dataset)
    scores = [validation_score(knn.fit(point, 0), history, valid) for point in KNN_GRID]
    assert chosen == KNN_GRID[int(np.argmax(scores))]
    assert len(set(scores)) > 1


def test_a_crowd_of_items_of_one_user_can_be_weighed_down() -> None:
    # Items 0 and 1 share two short histories; item 2 shares three endless ones with item 0.
    long = [0, *range(2, 40)]
    lists = [[0, 1], [0, 1], long, long, long]
    offsets = np.cumsum([0, *map(len, lists)])
    history = Histories(offsets, np.concatenate(lists).astype(np.int32))
    counts = CoOccurrence(history, 40)
    plain, weighted = (counts.of(power)[0].toarray()[0] for power in (0.0, 1.0))
    assert plain[2] > plain[1]
    assert weighted[1] > weighted[2]
    assert weighted[1] == pytest.approx(2 / 2)
    assert weighted[2] == pytest.approx(3 / len(long))


@pytest.mark.parametrize("batch", [4, 1024])
def test_ease_against_the_formula(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ease, "BATCH", batch)
    matrix = (np.random.default_rng(0).random((50, 11)) < 0.3).astype(float)
    inverse = np.linalg.inv(matrix.T @ matrix + 3.0 * np.eye(11))
    expected = -inverse / np.diag(inverse)
    np.fill_diagonal(expected, 0.0)
    assert np.allclose(ease.ease_weights(matrix.T @ matrix, 3.0), expected)
    # It is the minimum: moving any weight off it makes the objective larger.
    objective = lambda b: ((matrix - matrix @ b) ** 2).sum() + 3.0 * (b**2).sum()  # noqa: E731
    for i, j in [(0, 1), (5, 2), (10, 9)]:
        for step in (-1e-3, 1e-3):
            moved = expected.copy()
            moved[i, j] += step
            assert objective(moved) > objective(expected)


def test_ease_refuses_large_catalogues() -> None:
    data = make_dataset()
    items = pl.DataFrame({"item": np.arange(ease.MAX_ITEMS + 1)})
    with pytest.raises(DataError, match="20,000 items"):
        Ease(dataclasses.replace(data, items=items))


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (ItemKnn, KnnSettings(neighbours=20, shrink=10.0)),
        (ItemKnn, KnnSettings(neighbours=20, shrink=10.0, user_power=1.0)),
        (Ease, ease.EaseSettings(l2=50.0)),
    ],
)
def test_baselines_beat_the_most_popular(kind: type[Baseline], settings: Settings) -> None:
    data = make_dataset(200, 60)
    rows, test = np.arange(150), data.histories(Split.TEST)
    rows = rows[test.lengths[rows] > 0]
    visible = data.without(Split.TEST)
    scores = [
        per_user_metrics(scorer.rank(rows, 20), test, rows)["ndcg@20"].to_numpy().mean()
        for scorer in (Popular(visible).fit(Settings(), 0), kind(visible).fit(settings, 0))  # type: ignore[call-arg]
    ]
    assert scores[1] > 1.3 * scores[0]


def test_the_grid_is_every_combination() -> None:
    class Two(Settings):
        a: int = Field(ge=1)
        b: float = 0.5

    grid = grid_of(Two, {"b": [0.1, 0.2], "a": [1, 2.0]}, "two")
    assert [(p.a, p.b) for p in grid] == [(1, 0.1), (2, 0.1), (1, 0.2), (2, 0.2)]
    for axes in ({"a": [0]}, {"c": [1]}, {"a": [1.5]}):
        with pytest.raises(ConfigError, match="grid of two"):
            grid_of(Two, axes, "two")
    with pytest.raises(ConfigError, match="no values"):
        grid_of(Two, {"a": []}, "two")


def test_the_first_of_equals_is_chosen_and_one_point_is_not_scored() -> None:
    assert tune([3, 1, 2], lambda point: float(point < 3)) == 1
    assert tune([7], lambda point: 1 / 0) == 7
