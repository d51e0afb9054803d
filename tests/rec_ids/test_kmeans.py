"""Residual k-means."""

from __future__ import annotations

import torch

from mmgrec_engine.ops.rq_assign import rq_assign
from mmgrec_engine.rec_ids.kmeans import residual_kmeans


def test_finds_separated_clusters_and_their_offsets() -> None:
    g = torch.Generator().manual_seed(0)
    centres = torch.tensor([[0.0, 0.0], [100.0, 0.0], [0.0, 100.0]])
    offsets = torch.tensor([[1.0, 1.0], [-1.0, -1.0]])
    which, where = (torch.randint(n, (400,), generator=g) for n in (3, 2))
    x = centres[which] + offsets[where] + 0.01 * torch.randn(400, 2, generator=g)
    codebooks = residual_kmeans(x, 2, 3, seed=1)
    codes, norms, _ = rq_assign(x, codebooks)
    assert codebooks.shape == (2, 3, 2)
    assert float(norms.max()) < 0.1
    for a in range(3):
        assert len(codes[which == a, 0].unique()) == 1


def test_deterministic_for_a_seed() -> None:
    x = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(residual_kmeans(x, 2, 8, seed=3), residual_kmeans(x, 2, 8, seed=3))


def test_fewer_rows_than_codewords_are_kept_exactly() -> None:
    x = torch.randn(3, 2)
    codes, norms, _ = rq_assign(x, residual_kmeans(x, 1, 8, seed=0))
    assert codes.flatten().tolist() == [0, 1, 2]
    assert float(norms.max()) < 1e-12
