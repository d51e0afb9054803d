"""`relation_attention` against the paper's formula, one user and head at a time.

The Triton kernel has tests of its own in tests/kernels.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mmgrec_engine.errors import BackendError, ConfigError
from mmgrec_engine.ops.relation_attention import (
    relation_attention,
    relation_attention_packed,
    relation_attention_work,
)

TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-6}
# Lengths: none, one, all, and in between; widths: one, odd, a power of two.
SHAPES = [(1, 1, 1, 1), (3, 2, 5, 4), (2, 3, 7, 5), (4, 4, 33, 16)]
CASES = [("reference", torch.float64), ("reference", torch.float32), ("native", torch.float32)]
BACKENDS = ["reference", "native"]


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


@pytest.mark.parametrize(("backend", "dtype"), CASES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_values_and_gradients(
    shape: tuple[int, int, int, int], backend: str, dtype: torch.dtype
) -> None:
    *tensors, lengths = inputs(shape, dtype)
    ours = relation_attention(*tensors, lengths, backend=backend)
    theirs = official(*tensors, lengths)
    torch.testing.assert_close(ours, theirs, atol=TOLERANCE[dtype], rtol=1e-5)
    weight = torch.randn_like(ours)
    got = torch.autograd.grad((ours * weight).sum(), tensors)
    wanted = torch.autograd.grad((theirs * weight).sum(), tensors)
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, atol=50 * TOLERANCE[dtype], rtol=1e-4)


@pytest.mark.parametrize("length", [1, 31, 33, 129, 1024])
def test_native_is_the_reference_at_any_length(length: int) -> None:
    shape = (3 if length < 1024 else 1, 2, length, 16)
    *tensors, _ = (x.detach() for x in inputs(shape, torch.float32))
    lengths = torch.tensor([length, 1, length // 2][: shape[0]])
    found = relation_attention(*tensors, lengths, backend="native")
    wanted = relation_attention(*(x.double() for x in tensors), lengths)
    torch.testing.assert_close(found.double(), wanted, atol=5e-6, rtol=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_users_and_all_padding(backend: str) -> None:
    *tensors, lengths = inputs((2, 3, 4, 5), torch.float32)
    assert relation_attention(*(x[:0] for x in tensors), lengths[:0], backend=backend).numel() == 0
    out = relation_attention(*tensors, torch.zeros(2, dtype=torch.int64), backend=backend)
    assert out.shape == (2, 3, 4, 5)
    assert (out == 0).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_packed_is_padded_without_the_padding(backend: str) -> None:
    *tensors, lengths = inputs((4, 3, 6, 5), torch.float32)
    lengths[1] = 0
    inside = torch.arange(6) < lengths[:, None]
    packed = [x.transpose(1, 2)[inside] for x in tensors[:3]] + [x[inside] for x in tensors[3:6]]
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
    found = relation_attention_packed(*packed, tensors[6], offsets, 6, backend=backend)
    wanted = relation_attention(*tensors, lengths).transpose(1, 2)[inside]
    torch.testing.assert_close(found, wanted, atol=2e-6, rtol=1e-5)
    weight = torch.randn_like(found)
    got = torch.autograd.grad((found * weight).sum(), tensors)
    expected = torch.autograd.grad((wanted * weight).sum(), tensors)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_native_takes_views_of_a_fused_projection() -> None:
    qkv, relation = torch.randn(3, 7, 3, 2, 4), torch.randn(3, 7, 12)
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    tensors = (q, k, v, *relation.chunk(3, -1), torch.randn(3, 3), torch.tensor([7, 3, 5]))
    torch.testing.assert_close(
        relation_attention(*tensors, backend="native"),
        relation_attention(*tensors),
        atol=2e-6,
        rtol=1e-5,
    )


@pytest.mark.parametrize("packed", [False, True])
def test_native_op_is_registered_as_torch_expects(packed: bool) -> None:
    *tensors, lengths = inputs((1, 2, 5, 4), torch.float32)
    last = torch.tensor([0, 2, 5]) if packed else lengths
    gates = tensors[6].detach().expand(2, 3).clone() if packed else tensors[6]
    op = torch.ops.mmgrec.relation_attention_native.default
    torch.library.opcheck(op, (*tensors[:6], gates, last, packed))


def test_native_compiles_without_a_graph_break() -> None:
    *tensors, lengths = inputs((2, 2, 5, 4), torch.float32)

    def run() -> Tensor:
        return relation_attention(*tensors, lengths, backend="native")

    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(), run())


def test_what_native_cannot_take_is_named() -> None:
    *tensors, lengths = inputs((2, 2, 4, 4), torch.float64)
    with pytest.raises(ConfigError, match="float64"):
        relation_attention(*tensors, lengths, backend="native")
    *tensors, lengths = inputs((2, 2, 4, 4), torch.float32)
    for wrong in (5, -1):
        with pytest.raises(ConfigError, match="a length is below 0 or above L"):
            relation_attention(*tensors, torch.tensor([wrong, 1]), backend="native")
    rows = [x[0].transpose(0, 1) for x in tensors[:3]] + [x[0] for x in tensors[3:6]]
    with pytest.raises(ConfigError, match="offsets must run from 0"):
        relation_attention_packed(*rows, tensors[6], torch.tensor([0, 2, 3]), 4, backend="native")
    with pytest.raises(BackendError, match="native, triton, reference"):
        relation_attention(*tensors, lengths, backend="cuda")


def test_work_counts_the_history_that_is_there() -> None:
    work = relation_attention_work(torch.tensor([2, 0, 3]), heads=4, width=8)
    assert work.flops == 2 * (4 + 9) * 8 * (2 * 4 + 1)
    assert work.bytes == 4 * (5 * 8 * (4 * 4 + 3) + 9)


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
