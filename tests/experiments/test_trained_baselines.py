"""Trained baselines: they learn, resume, repeat themselves, and draw fair negatives."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from mmgrec.data.dataset import Dataset, Modality, Split
from mmgrec.evaluation.baselines import Popular, Settings, grid_of
from mmgrec.evaluation.metrics import per_user_metrics
from mmgrec.experiments.bpr_mf import BprMf, Factors
from mmgrec.experiments.factors import BprStage, FactorSettings, Workplace
from mmgrec.experiments.lightgcn import LightGcn, LightGcnSettings, PropagatedFactors
from mmgrec.experiments.methods import CLOSED, TRAINED
from mmgrec.experiments.vbpr import Vbpr, VisualFactors, standardised
from mmgrec_engine.errors import DataError
from tests_shared import make_dataset


def settings_of(kind: type[Any], **values: object) -> Settings:
    return kind.settings_type(**{"learning_rate": 0.02, "epochs": 30, **values})  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def visible() -> Dataset:
    return make_dataset(200, 60).without(Split.TEST)


def workplace(folder: Path) -> Workplace:
    return Workplace(folder, "test", Console(quiet=True))


@pytest.mark.parametrize("kind", TRAINED.values(), ids=TRAINED)
def test_they_beat_the_most_popular_and_repeat_themselves(
    kind: type[Any], visible: Dataset, tmp_path: Path
) -> None:
    test = make_dataset(200, 60).histories(Split.TEST)
    rows = np.flatnonzero((test.lengths > 0) & (visible.histories(Split.TRAIN).lengths > 0))

    def quality(top: np.ndarray) -> float:
        return float(per_user_metrics(top, test, rows)["ndcg@20"].to_numpy().mean())

    settings = settings_of(kind)
    popular = quality(Popular(visible).fit(Settings(), 0).rank(rows, 20))
    tops = [
        kind(visible, workplace(tmp_path / name)).fit(settings, seed).rank(rows, 20)
        for name, seed in (("a", 0), ("b", 0), ("c", 1), ("a", 0))
    ]
    assert quality(tops[0]) > 1.3 * popular
    assert (tops[0] == tops[1]).all()
    assert (tops[0] != tops[2]).any()
    assert (tops[0] == tops[3]).all()  # read back from its checkpoint


def test_every_grid_fits_its_settings() -> None:
    for name, kind in (CLOSED | TRAINED).items():
        assert len(grid_of(kind.settings_type, kind.axes, name)) >= 1


def test_negatives_are_items_that_the_user_does_not_have(visible: Dataset) -> None:
    settings = FactorSettings()
    model = Factors(visible.num_users, visible.num_items, 4)
    stage = BprStage("test", model, visible, settings)
    generator = torch.Generator().manual_seed(0)
    users = torch.arange(visible.num_users).repeat(50)
    drawn = stage.negatives(users, generator)
    seen = [set(stage.history.of(user).tolist()) for user in range(visible.num_users)]
    assert all(int(j) not in seen[int(u)] for u, j in zip(users, drawn, strict=True))
    assert len(set(drawn.tolist())) == visible.num_items


def test_vbpr_is_its_formula(visible: Dataset) -> None:
    torch.manual_seed(0)
    features = standardised(visible)
    model = VisualFactors(visible.num_users, features, 8)
    users, items = model.vectors()
    p, q, b = model.free.users, model.free.items, model.free.bias[:, 0]
    direct = p @ q.T + b + model.users @ model.project(features).T + model.bias(features).T
    assert torch.allclose(users @ items.T, direct, atol=1e-5)
    missing = ~visible.modalities["visual"].present
    assert missing.any()
    assert (features[torch.from_numpy(missing)] == 0).all()
    shown = features[torch.from_numpy(~missing)]
    assert torch.allclose(shown.mean(0), torch.zeros(6), atol=1e-5)
    assert torch.allclose(shown.std(0, correction=0), torch.ones(6), atol=1e-4)


def test_vbpr_takes_any_number_of_modalities_but_none(visible: Dataset, tmp_path: Path) -> None:
    flat = Modality(np.ones((60, 3), np.float32), np.ones(60, bool))
    two = dataclasses.replace(visible, modalities={"b": flat, **visible.modalities})
    assert standardised(two).shape == (60, 9)
    assert torch.isfinite(standardised(two)).all()
    with pytest.raises(DataError, match="no modality"):
        Vbpr(visible.without_features(), workplace(tmp_path))


def test_lightgcn_averages_the_layers(visible: Dataset) -> None:
    model = PropagatedFactors(visible, LightGcnSettings(width=4, layers=2), "cpu")
    history = visible.histories(Split.TRAIN)
    total = visible.num_users + visible.num_items
    adjacency = np.zeros((total, total))
    users = np.repeat(np.arange(visible.num_users), history.lengths)
    adjacency[users, visible.num_users + history.item_rows] = 1
    adjacency += adjacency.T
    degree = np.maximum(adjacency.sum(0), 1)
    adjacency /= np.sqrt(degree[:, None] * degree)
    start = model.library.embedding.weight.detach().numpy()
    expected = (start + adjacency @ start + adjacency @ adjacency @ start) / 3
    found = torch.cat(model.vectors()).detach().numpy()
    assert np.allclose(found, expected, atol=1e-6)


def test_penalties_count_the_triples(visible: Dataset) -> None:
    model = PropagatedFactors(visible, LightGcnSettings(width=4), "cpu")
    table = model.library.embedding.weight.square().sum(1)
    rows = torch.tensor([2, 3]), torch.tensor([0, 0]), torch.tensor([7, 8])
    items = visible.num_users
    expected = table[[2, 3, items, items, items + 7, items + 8]].sum()
    assert model.penalty(*rows).item() == pytest.approx(expected.item())
    assert {BprMf.name, LightGcn.name, Vbpr.name} < set(TRAINED)
