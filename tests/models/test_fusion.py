"""Fusion of modalities."""

from __future__ import annotations

import torch

from mmgrec_engine.models.fusion import Fusion


def test_average_over_the_modalities_an_item_has() -> None:
    torch.manual_seed(0)
    fusion = Fusion({"a": 3, "b": 2}, 4)
    features = {"a": torch.randn(3, 3), "b": torch.randn(3, 2)}
    present = {"a": torch.tensor([True, True, False]), "b": torch.tensor([True, False, False])}
    fused = fusion(features, present)
    both = (fusion.project["a"](features["a"]) + fusion.project["b"](features["b"])) / 2
    torch.testing.assert_close(fused[0], both[0])
    torch.testing.assert_close(fused[1], fusion.project["a"](features["a"])[1])
    torch.testing.assert_close(fused[2], fusion.missing)


def test_statistics_come_from_present_rows_only() -> None:
    fusion = Fusion({"a": 2}, 2)
    values = torch.tensor([[1.0, 5.0], [3.0, 5.0], [1000.0, 0.0]])
    fusion.fit({"a": values}, {"a": torch.tensor([True, True, False])})
    assert fusion.get_buffer("mean_a").tolist() == [2.0, 5.0]
    # A constant column must not divide by zero.
    assert torch.isfinite(fusion({"a": values}, {"a": torch.ones(3, dtype=torch.bool)})).all()
