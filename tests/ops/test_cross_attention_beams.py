"""`cross_attention_beams` against attention with the memory copied to every beam."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from mmgrec_engine.errors import ConfigError
from mmgrec_engine.ops.cross_attention_beams import cross_attention_beams

SHAPES = [(1, 1, 1, 1, 1), (3, 2, 5, 7, 4), (2, 4, 50, 33, 16), (2, 1, 0, 3, 4)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_values_and_gradients(shape: tuple[int, int, int, int, int]) -> None:
    users, heads, queries, length, width = shape
    torch.manual_seed(0)
    q = torch.randn(users, heads, queries, width, dtype=torch.float64, requires_grad=True)
    k, v = (
        torch.randn(users, heads, length, width, dtype=torch.float64, requires_grad=True)
        for _ in range(2)
    )
    lengths = torch.arange(users) % length + 1
    mask = torch.arange(length) < lengths[:, None, None, None]
    ours = cross_attention_beams(q, k, v, lengths)
    theirs = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=1e-9)
    for a, b in zip(
        torch.autograd.grad(ours.square().sum(), (q, k, v)),
        torch.autograd.grad(theirs.square().sum(), (q, k, v)),
        strict=True,
    ):
        torch.testing.assert_close(a, b, atol=1e-11, rtol=1e-8)


def test_empty_memory_gives_zeros() -> None:
    q, kv = torch.ones(2, 1, 3, 4), torch.ones(2, 1, 5, 4)
    out = cross_attention_beams(q, kv, kv, torch.tensor([0, 5]))
    assert (out[0] == 0).all()
    assert (out[1] == 1).all()


def test_wrong_shapes_are_named() -> None:
    q, k, lengths = torch.ones(2, 1, 3, 4), torch.ones(2, 1, 5, 4), torch.tensor([5, 5])
    for wrong in (
        (q, k[:1], k[:1], lengths),
        (q, k, k[:, :, :4], lengths),
        (q[..., :3], k, k, lengths),
        (q, k, k, lengths[:1]),
    ):
        with pytest.raises(ConfigError, match="do not fit"):
            cross_attention_beams(*wrong)
