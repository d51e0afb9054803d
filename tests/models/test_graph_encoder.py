"""Propagation over the graph against dense matrices."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mmgrec_engine.models.graph_encoder import (
    Graph,
    GraphEncoder,
    GraphEncoderConfig,
    csr,
    symmetric_product,
)

USERS, ITEMS = torch.tensor([0, 0, 1, 2]), torch.tensor([0, 1, 1, 3])
NUM_USERS, NUM_ITEMS = 4, 5


def dense() -> Tensor:
    adjacency = torch.zeros(NUM_USERS + NUM_ITEMS, NUM_USERS + NUM_ITEMS)
    for user, item in zip(USERS.tolist(), ITEMS.tolist(), strict=True):
        adjacency[user, NUM_USERS + item] = adjacency[NUM_USERS + item, user] = 1.0
    return adjacency


def test_lightgcn_is_the_mean_of_normalised_powers() -> None:
    config = GraphEncoderConfig(width=6, layers=2, propagation="lightgcn")
    encoder = GraphEncoder(config, NUM_USERS, NUM_ITEMS, {})
    graph = Graph(USERS, ITEMS, NUM_USERS, NUM_ITEMS, normalise=True)
    users, items = encoder({}, {}, graph.adjacency())
    scale = dense().sum(1).clamp_min(1).rsqrt()
    normalised = scale[:, None] * dense() * scale
    h = torch.cat([encoder.user_free, encoder.item_free])
    expected = (h + normalised @ h + normalised @ normalised @ h) / 3
    torch.testing.assert_close(torch.cat([users, items]), expected)


def test_graphsage_is_the_mean_of_neighbours_and_a_root_map() -> None:
    config = GraphEncoderConfig(width=6, layers=2, propagation="graphsage")
    encoder = GraphEncoder(config, NUM_USERS, NUM_ITEMS, {})
    graph = Graph(USERS, ITEMS, NUM_USERS, NUM_ITEMS, normalise=False)
    users, items = encoder({}, {}, graph.adjacency())
    mean = dense() / dense().sum(1, keepdim=True).clamp_min(1)
    h = torch.cat([encoder.user_free, encoder.item_free])
    for i, layer in enumerate(encoder.convolutions):
        h = torch.relu(h) if i else h
        h = layer.lin_l(mean @ h) + layer.lin_r(h)
    torch.testing.assert_close(torch.cat([users, items]), h)


@pytest.mark.parametrize("free_share", [0.0, 0.5, 1.0])
def test_item_vectors_join_modalities_and_free_embedding(free_share: float) -> None:
    config = GraphEncoderConfig(width=8, layers=0, free_share=free_share)
    encoder = GraphEncoder(config, NUM_USERS, NUM_ITEMS, {"text": 3})
    assert encoder.item_free.shape == (NUM_ITEMS, round(8 * free_share))
    features = {"text": torch.randn(NUM_ITEMS, 3)}
    present = {"text": torch.ones(NUM_ITEMS, dtype=torch.bool)}
    graph = Graph(USERS, ITEMS, NUM_USERS, NUM_ITEMS, normalise=True)
    _, items = encoder(features, present, graph.adjacency())
    assert items.shape == (NUM_ITEMS, 8)


def test_the_product_of_a_symmetric_matrix_has_the_gradient_of_a_dense_one() -> None:
    adjacency = Graph(USERS, ITEMS, NUM_USERS, NUM_ITEMS, normalise=True).adjacency()
    torch.manual_seed(0)
    x = torch.randn(NUM_USERS + NUM_ITEMS, 3, requires_grad=True)
    weight = torch.randn(NUM_USERS + NUM_ITEMS, 3)
    (symmetric_product(adjacency, x) * weight).sum().backward()
    torch.testing.assert_close(x.grad, adjacency.to_dense().T @ weight)


def test_similar_items_add_half_of_their_mean() -> None:
    config = GraphEncoderConfig(width=4, layers=0, free_share=1.0, neighbours=1)
    encoder = GraphEncoder(config, NUM_USERS, NUM_ITEMS, {})
    graph = Graph(USERS, ITEMS, NUM_USERS, NUM_ITEMS, normalise=True)
    similar = csr(torch.tensor([[0, 3], [3, 0]]), torch.ones(2), NUM_ITEMS)
    _, items = encoder({}, {}, graph.adjacency(), similar)
    torch.testing.assert_close(items[0], encoder.item_free[0] + encoder.item_free[3] / 2)
    torch.testing.assert_close(items[1], encoder.item_free[1])
