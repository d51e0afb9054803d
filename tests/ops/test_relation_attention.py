"""`relation_attention` against the paper's formula, one user and head at a time."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mmgrec_engine.errors import ConfigError
from mmgrec_engine.ops.relation_attention import relation_attention

TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-6}
# Lengths: none, one, all, and in between; widths: one, odd, a power of two.
SHAPES = [(1, 1, 1, 1), (3, 2, 5, 4), (2, 3, 7, 5), (4, 4, 33, 16)]


def inputs(shape: tuple[int, int, int, int], dtype: torch.dtype) -> list[Tensor]:
    users, heads, length, width = shape
    g = torch.Generator().manual_seed(1)

    def draw(*size: int) -> Tensor:
        return torch.randn(*size, generator=g, dtype=dtype).requires_grad_()

    qkv = [draw(users, heads, length, width) for _ in range(3)]
    relations = [draw(users, length, width) for _ in range(3)]
    lengths = torch.tensor([(length * (u + 1)) // users for u in range(users)])
    lengths[0] = min(1, length)
    return [*qkv, *relations, draw(users, 3), lengths]


def official(q: Tensor, k: Tensor, v: Tensor, *rest: Tensor) -> Tensor:
    """The formula with explicit loops: no padding, no batching, U terms added to each head."""
    uq, uk, uv, gates, lengths = rest
    users, heads, _, width = q.shape
    out = torch.zeros_like(q)
    for u in range(users):
        n = int(lengths[u])
        a_q, a_k, a_v = gates[u]
        for h in range(heads):
            for i in range(n):
                logits = torch.stack(
                    [
                        (q[u, h, i] @ k[u, h, j] + (a_q * uq[u, i]) @ (a_k * uk[u, j]))
                        / math.sqrt(width)
                        for j in range(n)
                    ]
                )
                values = v[u, h, :n] + a_v * uv[u, :n]
                out[u, h, i] = torch.softmax(logits, 0) @ values
    return out


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_values_and_gradients(shape: tuple[int, int, int, int], dtype: torch.dtype) -> None:
    *tensors, lengths = inputs(shape, dtype)
    ours = relation_attention(*tensors, lengths)
    theirs = official(*tensors, lengths)
    torch.testing.assert_close(ours, theirs, atol=TOLERANCE[dtype], rtol=1e-5)
    weight = torch.randn_like(ours)
    got = torch.autograd.grad((ours * weight).sum(), tensors)
    wanted = torch.autograd.grad((theirs * weight).sum(), tensors)
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, atol=50 * TOLERANCE[dtype], rtol=1e-4)


def test_padding_does_not_matter_and_gives_zeros() -> None:
    *tensors, lengths = inputs((3, 2, 6, 4), torch.float32)
    before = relation_attention(*tensors, lengths)
    with torch.no_grad():
        for tensor in tensors[:3]:
            tensor[0, :, int(lengths[0]) :] = 1e4
    after = relation_attention(*tensors, lengths)
    torch.testing.assert_close(before, after)
    assert (after[0, :, int(lengths[0]) :] == 0).all()


def test_empty_history_gives_zeros_and_finite_gradients() -> None:
    *tensors, lengths = inputs((2, 2, 3, 4), torch.float32)
    lengths[0] = 0
    out = relation_attention(*tensors, lengths)
    assert (out[0] == 0).all()
    grads = torch.autograd.grad(out.sum(), tensors)
    assert all(torch.isfinite(grad).all() for grad in grads)


def test_strided_inputs() -> None:
    *tensors, lengths = inputs((2, 2, 4, 4), torch.float32)
    strided = [t.transpose(-1, -2).contiguous().transpose(-1, -2) for t in tensors]
    torch.testing.assert_close(
        relation_attention(*tensors, lengths), relation_attention(*strided, lengths)
    )


def test_wrong_shapes_are_named() -> None:
    *tensors, lengths = inputs((2, 2, 4, 4), torch.float32)
    with pytest.raises(ConfigError, match="relation_k"):
        relation_attention(*tensors[:4], tensors[4][:, :3], *tensors[5:], lengths)
    with pytest.raises(ConfigError, match="gates or lengths"):
        relation_attention(*tensors, lengths[:1])
    with pytest.raises(ConfigError, match="q, k, v"):
        relation_attention(tensors[0][:1], *tensors[1:], lengths)
