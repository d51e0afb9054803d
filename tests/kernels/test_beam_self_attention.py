"""`beam_self_attention` in Triton against the reference in fp64, position after position.

Without a GPU the kernel runs in Triton's interpreter (TRITON_INTERPRET=1, set before the import).
"""

from __future__ import annotations

import pytest
import torch

from mmgrec_engine.ops.beam_self_attention import beam_self_attention
from tests_shared import walk_beams

# Relative to the largest value: sums of at most a few hundred terms; in 16 bits only the result is
# rounded.
TOLERANCES = {torch.float32: 2e-6, torch.bfloat16: 2**-7, torch.float16: 2**-10}

# Users, beams, heads, width: one of everything; a block of beams, less and more; heads and widths
# that are no powers of two; a beam wider than a block.
SHAPES = [(1, 1, 1, 1), (3, 16, 4, 16), (2, 21, 3, 20), (2, 50, 4, 16), (1, 3, 5, 300)]


@pytest.fixture(scope="module")
def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_values(device: torch.device, shape: tuple[int, int, int, int], dtype: torch.dtype) -> None:
    users, width, heads, head_width = shape
    cache = torch.full((4, users, width, 2, heads, head_width), float("nan"), device=device)
    exact, cache = cache.double(), cache.to(dtype)
    for position, numbers, all_parents in walk_beams(4, *shape):
        qkv, parents = numbers.to(device, dtype), all_parents.to(device)
        found = beam_self_attention(qkv, cache, parents, position, backend="triton")
        wanted = beam_self_attention(qkv.double(), exact, parents, position)
        error = (found.double() - wanted).abs().max() / wanted.abs().max().clamp(min=0.1)
        assert error <= TOLERANCES[dtype]
        assert found.dtype == dtype
        assert torch.equal(cache[position, :, : qkv.shape[1]], qkv[:, :, 1:])


def test_nobody(device: torch.device) -> None:
    qkv = torch.zeros(0, 3, 3, 2, 4, device=device)
    cache = torch.zeros(2, 0, 3, 2, 2, 4, device=device)
    parents = torch.zeros(2, 0, 3, dtype=torch.int32, device=device)
    assert beam_self_attention(qkv, cache, parents, 0, backend="triton").shape == (0, 3, 8)
