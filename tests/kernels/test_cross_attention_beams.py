"""`cross_attention_beams` in Triton against the reference in fp64.

Without a GPU the kernel runs in Triton's interpreter (TRITON_INTERPRET=1, set before the import).
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mmgrec_engine.kernels.cross_attention_beams import choose_tiles, compilations
from mmgrec_engine.ops.cross_attention_beams import (
    cross_attention_beams,
    cross_attention_beams_reference,
)

# Relative to the largest value. fp32: a few dozen roundings of 6e-8, and products good to 2^-22;
# 16 bits: weights and result are rounded (2^-8 in bf16, 2^-11 in fp16), scores are not.
TOLERANCES = {torch.float32: 5e-6, torch.bfloat16: 2**-6, torch.float16: 2**-9}

# Users, heads, queries, memory rows, width: one of everything; around a tile of few queries and of
# many; memories of several tiles with a rest; widths that are no powers of two; three heads.
SHAPES = [
    (1, 1, 1, 1, 16),
    (2, 4, 10, 32, 16),
    (3, 3, 17, 33, 20),
    (2, 2, 65, 31, 64),
    (1, 1, 50, 70, 128),
    (2, 1, 200, 5, 8),
]


@pytest.fixture(scope="module")
def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def make(
    device: torch.device, shape: tuple[int, int, int, int, int], dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """q, k and v as the decoder makes them: k and v are views of one projection."""
    users, heads, queries, rows, width = shape
    generator = torch.Generator().manual_seed(sum(shape))
    q = torch.randn(users, queries, heads, width, generator=generator).to(device, dtype)
    fused = torch.randn(users, rows, 2, heads, width, generator=generator).to(device, dtype)
    k, v = fused.permute(2, 0, 3, 1, 4).unbind(0)
    return q.transpose(1, 2), k, v


def assert_near(found: Tensor, q: Tensor, k: Tensor, v: Tensor, lengths: Tensor) -> None:
    wanted = cross_attention_beams_reference(q.double(), k.double(), v.double(), lengths)
    error = (found.double() - wanted).abs().max() / wanted.abs().max().clamp(min=0.1)
    assert error <= TOLERANCES[found.dtype]


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_values(
    device: torch.device, shape: tuple[int, int, int, int, int], dtype: torch.dtype
) -> None:
    q, k, v = make(device, shape, dtype)
    rows = k.shape[2]
    lengths = torch.tensor([rows, rows // 2, 1][: len(q)], device=device)
    found = cross_attention_beams(q, k, v, lengths, backend="triton")
    # Merging the heads must not copy.
    assert found.transpose(1, 2).is_contiguous()
    assert_near(found, q, k, v, lengths)


def test_padding_is_never_read_and_no_memory_gives_zeros(device: torch.device) -> None:
    q, k, v = make(device, (4, 2, 20, 40, 16), torch.float32)
    lengths = torch.tensor([0, 1, 32, 40], dtype=torch.int32, device=device)
    k, v = k.clone(), v.clone()
    for user, length in enumerate(lengths.tolist()):
        k[user, :, length:], v[user, :, length:] = float("nan"), float("nan")
    found = cross_attention_beams(q, k, v, lengths, backend="triton")
    assert (found[0] == 0).all()
    assert_near(found, q, k.nan_to_num(), v.nan_to_num(), lengths)
    # A length beyond the memory is the memory's.
    beyond = cross_attention_beams(q, k, v, lengths + 100 * (lengths == 40), backend="triton")
    assert torch.equal(beyond[3], found[3])


def test_any_strides(device: torch.device) -> None:
    q, k, v = make(device, (2, 2, 18, 19, 16), torch.float32)
    lengths = torch.tensor([19, 7], device=device)
    wanted = cross_attention_beams(q, k, v, lengths, backend="triton")
    gaps = torch.zeros(2, 2, 18, 32, device=device)
    gaps[..., ::2] = q
    spread = torch.zeros(2, 2, 38, 16, device=device)
    spread[:, :, ::2] = k
    for x, y, z in ((gaps[..., ::2], k, v), (q, spread[:, :, ::2], v.contiguous())):
        found = cross_attention_beams(x, y, z, lengths, backend="triton")
        torch.testing.assert_close(found, wanted, atol=5e-6, rtol=5e-6)
    # One vector for all beams, as before the first token.
    one = q[:, :, :1].expand(-1, -1, 18, -1)
    found = cross_attention_beams(one, k, v, lengths, backend="triton")
    assert_near(found, one, k, v, lengths)


def test_nothing_to_do(device: torch.device) -> None:
    for shape in ((0, 2, 3, 4, 16), (2, 2, 0, 4, 16), (2, 2, 3, 0, 16)):
        q, k, v = make(device, shape, torch.float32)
        lengths = torch.zeros(len(q), dtype=torch.int64, device=device)
        found = cross_attention_beams(q, k, v, lengths, backend="triton")
        assert found.shape == q.shape
        assert (found == 0).all()


def test_where_a_gradient_is_needed_it_is_right(device: torch.device) -> None:
    q, k, v = (x.requires_grad_() for x in make(device, (2, 2, 5, 6, 16), torch.float32))
    lengths = torch.tensor([6, 2], device=device)
    found = cross_attention_beams(q, k, v, lengths, backend="triton")
    wanted = cross_attention_beams_reference(q, k, v, lengths)
    for a, b in zip(
        torch.autograd.grad(found.square().sum(), (q, k, v)),
        torch.autograd.grad(wanted.square().sum(), (q, k, v)),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_the_report_covers_every_launch() -> None:
    reported = {
        (c.config["dtype"], c.config["head_width"], c.config["queries"])
        for c in compilations("sm_90")
    }
    for width in (1, 16, 17, 100, 128):
        for queries in (1, 16, 17, 5000):
            for half, dtype in ((True, "bf16"), (False, "fp32")):
                padded = max(16, 1 << (width - 1).bit_length())
                tiles = choose_tiles(width, queries, half=half)
                assert (dtype, padded, tiles.queries) in reported
