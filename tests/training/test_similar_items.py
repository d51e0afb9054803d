"""The graph of items with similar features."""

from __future__ import annotations

import numpy as np
import torch

from mmgrec.training.similar_items import similar_items


def test_neighbours_are_those_of_the_formula() -> None:
    rng = np.random.default_rng(0)
    features = {
        n: torch.from_numpy(rng.normal(size=(20, w)).astype(np.float32))
        for n, w in (("a", 3), ("b", 5))
    }
    present = {"a": torch.ones(20, dtype=torch.bool), "b": torch.arange(20) % 4 != 0}
    found = similar_items(features, present, 3).to_dense()
    parts = []
    for name in ("a", "b"):
        known = features[name][present[name]]
        z = (features[name] - known.mean(0)) / known.std(0)
        parts.append(z / z.norm(dim=1, keepdim=True) * present[name][:, None])
    x = torch.cat(parts, 1)
    x = x / x.norm(dim=1, keepdim=True)
    cosine = (x @ x.T).fill_diagonal_(-2)
    nearest = cosine.topk(3, 1)
    one_way = torch.zeros(20, 20).scatter(1, nearest.indices, nearest.values.clamp_min(0))
    both = (one_way + one_way.T) / 2
    scale = both.sum(1).rsqrt()
    torch.testing.assert_close(found, scale[:, None] * both * scale, atol=1e-5, rtol=1e-4)


def test_duplicates_and_items_without_features_do_no_harm() -> None:
    features = {"a": torch.tensor([[1.0, 2.0], [1.0, 2.0], [-1.0, 0.0], [0.0, 0.0]])}
    present = {"a": torch.tensor([True, True, True, False])}
    found = similar_items(features, present, 10).to_dense()
    assert torch.isfinite(found).all()
    assert (found.diagonal() == 0).all()
    assert (found[3] == 0).all()
    assert float(found[0, 1]) > 0


def test_nobody_has_features() -> None:
    found = similar_items({"a": torch.zeros(3, 2)}, {"a": torch.zeros(3, dtype=torch.bool)}, 2)
    assert (found.to_dense() == 0).all()
