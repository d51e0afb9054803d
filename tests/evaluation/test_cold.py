"""Items that are kept from training, and the content kNN that they are measured beside."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mmgrec.data.dataset import Dataset, Modality, Split
from mmgrec.evaluation.baselines import ContentKnn, ContentKnnSettings
from mmgrec.evaluation.cold import hold_out_items
from mmgrec_engine.errors import DataError
from tests_shared import make_dataset


def test_held_out_items_leave_no_trace_in_what_is_trained_on(dataset: Dataset) -> None:
    cold = hold_out_items(dataset, 0.25, seed=3)
    assert len(cold.rows) == round(0.25 * 39)  # of 40 items one has no features
    assert 5 not in cold.rows
    assert set(cold.ids).isdisjoint(cold.warm.items["item"])
    assert cold.warm.num_items + len(cold.rows) == dataset.num_items
    assert cold.warm.modalities["visual"].values.shape[0] == cold.warm.num_items
    for split in Split:
        assert not np.isin(cold.visible.histories(split).item_rows, cold.rows).any()
    cold.warm.check()


def test_what_is_left_is_the_same_under_other_row_numbers(dataset: Dataset) -> None:
    cold = hold_out_items(dataset, 0.25, seed=3)

    def pairs(data: Dataset) -> list[tuple[object, ...]]:
        rows = data.interactions
        items = data.items["item"].gather(rows["item_row"])
        return list(zip(rows["user_row"], items, rows["split"], strict=True))

    gone = set(cold.ids)
    assert pairs(cold.warm) == [pair for pair in pairs(dataset) if pair[1] not in gone]
    values, kept = dataset.modalities["visual"].values, ~cold.mask
    assert (cold.warm.modalities["visual"].values == values[kept]).all()
    assert cold.warm.items["title"].to_list() == dataset.items["title"].filter(kept).to_list()


def test_targets_are_all_interactions_of_the_held_out_items(dataset: Dataset) -> None:
    cold = hold_out_items(dataset, 0.25, seed=3)
    everything = dataset.interactions["item_row"].to_numpy()
    assert cold.targets.lengths.sum() == np.isin(everything, cold.rows).sum()
    assert (cold.targets.lengths[cold.users] > 0).all()
    assert (cold.visible.histories(Split.TRAIN).lengths[cold.users] > 0).all()


def test_the_draw_is_the_seeds(dataset: Dataset) -> None:
    first, again, other = (hold_out_items(dataset, 0.25, seed) for seed in (1, 1, 2))
    assert first.rows.tolist() == again.rows.tolist() != other.rows.tolist()


def test_without_features_there_is_nothing_to_hold_out(dataset: Dataset) -> None:
    with pytest.raises(DataError, match="no items to hold out"):
        hold_out_items(dataset.without_features(), 0.1, 0)
    with pytest.raises(DataError, match="needs features"):
        ContentKnn(dataset.without_features())


def two_modalities() -> Dataset:
    dataset = make_dataset()
    rng = np.random.default_rng(1)
    values = rng.normal(size=(dataset.num_items, 3)).astype(np.float32)
    present = rng.random(dataset.num_items) < 0.7
    values[~present] = 0
    dataset.modalities["text"] = Modality(values, present)
    return dataset


@pytest.mark.parametrize("nearest", [1, 3, 1000])
def test_content_knn_scores_are_mean_cosines_to_the_nearest_items(nearest: int) -> None:
    dataset = two_modalities()
    knn = ContentKnn(dataset)
    user = int(np.argmax(knn.history.lengths))
    scores = knn.fit(ContentKnnSettings(nearest=nearest), 0).score(np.array([user]))[0]
    unit = {}
    for name, modality in dataset.modalities.items():
        known = modality.values[modality.present]
        z = (modality.values - known.mean(0)) / known.std(0)
        unit[name] = z / np.linalg.norm(z, axis=1, keepdims=True)

    def similarity(i: int, j: int) -> float:
        both = [n for n, m in dataset.modalities.items() if m.present[i] and m.present[j]]
        return float(np.mean([unit[n][i] @ unit[n][j] for n in both])) if both else 0.0

    for item in range(dataset.num_items):
        similar = sorted((similarity(item, j) for j in knn.history.of(user)), reverse=True)
        assert scores[item] == pytest.approx(np.mean(similar[:nearest]), abs=1e-5)


def test_a_modality_that_nobody_has_does_not_count() -> None:
    dataset = make_dataset()
    users = np.arange(dataset.num_users)
    alone = ContentKnn(dataset).fit(ContentKnnSettings(nearest=3), 0).rank(users, 20)
    width, nobody = (dataset.num_items, 3), np.zeros(dataset.num_items, bool)
    dataset.modalities["audio"] = Modality(np.zeros(width, np.float32), nobody)
    beside = ContentKnn(dataset).fit(ContentKnnSettings(nearest=3), 0).rank(users, 20)
    assert beside.tolist() == alone.tolist()


def test_somebody_has_to_be_asked() -> None:
    dataset = make_dataset()
    single = dataset.interactions.unique("user_row", keep="first", maintain_order=True)
    with pytest.raises(DataError, match="nobody who has interactions with held-out items"):
        hold_out_items(replace(dataset, interactions=single), 0.5, 0)
