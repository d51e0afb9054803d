"""The fitted map from features to vectors of items that come after training."""

from __future__ import annotations

import numpy as np
import torch

from mmgrec.data.dataset import Modality
from mmgrec.data.histories import Histories
from mmgrec.training.new_items import fit_new_items
from mmgrec_engine.models.feature_map import FeatureMap

ITEMS, USERS, WIDTH = 300, 80, 4


def world() -> tuple[dict[str, Modality], Histories, tuple[torch.Tensor, torch.Tensor]]:
    """Item vectors that are a linear function of features, and users who like their nearest."""
    rng = np.random.default_rng(0)
    values = rng.normal(3, 2, (ITEMS, 6)).astype(np.float32)
    vectors = (values - 3) @ rng.normal(size=(6, WIDTH)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    users = rng.normal(size=(USERS, WIDTH)).astype(np.float32)
    liked = np.argsort(-users @ vectors.T, axis=1)[:, :20]
    owner = np.repeat(np.arange(USERS, dtype=np.int32), 20)
    history = Histories.of_pairs(owner, liked.reshape(-1).astype(np.int32), USERS)
    modalities = {"text": Modality(values, np.ones(ITEMS, bool))}
    return modalities, history, (torch.from_numpy(users), torch.from_numpy(vectors))


def test_features_lead_near_the_trained_vectors() -> None:
    modalities, history, (users, vectors) = world()
    state = fit_new_items(modalities, history, (users, vectors), 0)
    made = FeatureMap({"text": 6}, state).vectors({"text": modalities["text"].values}, None, ITEMS)
    cosine = (made * vectors.numpy()).sum(1) / np.linalg.norm(made, axis=1)
    assert np.median(cosine) > 0.9


def test_the_same_seed_fits_the_same_map() -> None:
    first, second = (fit_new_items(*world(), 3) for _ in range(2))
    assert first.keys() == second.keys() == {"mean.text", "std.text", "map", "center", "length"}
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_without_features_there_is_nothing_to_fit() -> None:
    _, history, vectors = world()
    assert fit_new_items({}, history, vectors, 0) == {}


def test_a_modality_that_nobody_has_and_constant_columns_do_no_harm() -> None:
    modalities, history, vectors = world()
    values = modalities["text"].values.copy()
    values[:, 2] = 7
    nobody = Modality(np.zeros((ITEMS, 3), np.float32), np.zeros(ITEMS, bool))
    state = fit_new_items(
        {"text": Modality(values, np.ones(ITEMS, bool)), "audio": nobody}, history, vectors, 0
    )
    assert all(np.isfinite(x).all() for x in state.values())
