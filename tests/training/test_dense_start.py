"""Weights that training starts from: the graph encoder's ranking."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmgrec.data.histories import Histories
from mmgrec.training.dense_start import (
    SOFTNESS,
    choose_decay,
    soften_start,
    start_dense,
    user_map,
)
from mmgrec_engine.models.catalog_softmax import CatalogSoftmax
from mmgrec_engine.models.config import RecommenderConfig
from mmgrec_engine.models.recommender import Recommender

ITEMS, WIDTH, SCALE = 40, 6, 4.0


def histories(users: int = 60) -> Histories:
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 9, users)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return Histories(offsets, rng.integers(0, ITEMS, offsets[-1]).astype(np.int32))


def means(items: torch.Tensor, history: Histories) -> torch.Tensor:
    return torch.stack([items[history.of(u).astype(np.int64)].mean(0) for u in range(60)])


def test_a_linear_map_is_found() -> None:
    torch.manual_seed(0)
    items, history = torch.randn(ITEMS, WIDTH), histories()
    weight, bias = torch.randn(WIDTH, WIDTH), torch.randn(WIDTH)
    users = means(items, history) @ weight.T + bias
    found, found_bias = user_map(items, history, users)
    torch.testing.assert_close(found, weight, atol=5e-3, rtol=1e-2)
    torch.testing.assert_close(found_bias, bias, atol=5e-3, rtol=1e-2)


def test_an_untrained_model_gives_the_dense_probabilities() -> None:
    """Where every first token leads to one item, nothing is approximated."""
    torch.manual_seed(0)
    items, history = torch.randn(ITEMS, WIDTH), histories()
    codes = np.column_stack([np.arange(ITEMS), np.arange(ITEMS) % 3]).astype(np.int32)
    config = RecommenderConfig(width=8, heads=2, head_width=4, feed_forward=8)
    model = Recommender(config, [ITEMS, 3], items).eval()
    users = torch.randn(60, WIDTH)
    start_dense(model, history, users, SCALE)
    softmax = CatalogSoftmax(codes, items.numpy(), "catalogue")
    shown = history.of(3).astype(np.int64)
    memory = model.encode(torch.from_numpy(shown)[None], torch.tensor([len(shown)]))
    everything = torch.arange(ITEMS)[None]
    found = model.log_prob(memory, everything, torch.ones(1, ITEMS, dtype=torch.bool), softmax)
    weight, bias = user_map(items, history, users)
    dense = SCALE * (items[torch.from_numpy(shown)].mean(0) @ weight.T + bias) @ items.T
    torch.testing.assert_close(found, dense.log_softmax(0), atol=1e-4, rtol=1e-4)


def test_groups_of_equal_items_count_as_many() -> None:
    items = torch.ones(6, WIDTH)
    codes = np.array([[0, 0], [0, 1], [0, 2], [0, 3], [1, 0], [1, 1]], np.int32)
    config = RecommenderConfig(width=8, heads=2, head_width=4, feed_forward=8)
    model = Recommender(config, [2, 4], items).eval()
    start_dense(
        model, Histories(np.array([0, 1]), np.zeros(1, np.int32)), torch.ones(1, WIDTH), SCALE
    )
    softmax = CatalogSoftmax(codes, items.numpy(), "catalogue")
    memory = model.encode(torch.tensor([[0]]), torch.tensor([1]))
    found = model.log_prob(
        memory, torch.arange(6)[None], torch.ones(1, 6, dtype=torch.bool), softmax
    )
    torch.testing.assert_close(found.exp(), torch.full((6,), 1 / 6), atol=1e-5, rtol=1e-4)


def softness(model: Recommender) -> list[float]:
    return [float(query.weight[0, 0]) for query in model.head.query_user]


def started() -> Recommender:
    config = RecommenderConfig(width=8, heads=2, head_width=4, feed_forward=8)
    model = Recommender(config, [4, 4], torch.randn(16, WIDTH))
    for query in model.head.query_user:
        torch.nn.init.eye_(query.weight)
    return model.requires_grad_(False)


@pytest.mark.parametrize(("best", "chosen"), [(0.6, 0.6), (0.3, 0.3), (1.0, 1.0)])
def test_the_decay_that_ranks_best_is_taken(best: float, chosen: float) -> None:
    model = started()
    choose_decay(model, lambda m: 1 - abs(float(m.history_decay) - best))
    assert float(model.history_decay) == pytest.approx(chosen)


def test_a_decay_that_ranks_hardly_better_is_not_taken() -> None:
    model = started()
    choose_decay(model, lambda m: 1.0 + 0.005 * (1 - float(m.history_decay)))
    assert float(model.history_decay) == 1.0
    choose_decay(model, lambda _: None)
    assert float(model.history_decay) == 1.0


def test_the_softness_that_ranks_best_is_taken() -> None:
    model = started()
    wanted = SOFTNESS[2]
    soften_start(model, lambda m: -abs(softness(m)[0] - wanted))
    np.testing.assert_allclose(softness(model), wanted, rtol=1e-6)


def test_without_validation_the_start_is_as_sharp_as_the_encoder() -> None:
    model = started()
    soften_start(model, lambda _: None)
    np.testing.assert_allclose(softness(model), 1.0, rtol=1e-6)
