"""`cross_attention_beams` beside attention with the memory repeated for every beam."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from mmgrec_engine.ops.cross_attention_beams import cross_attention_beams

USERS, HEADS, BEAMS, LENGTH, WIDTH = 64, 4, 50, 32, 16


def with_repeated_memory(q: Tensor, k: Tensor, v: Tensor, lengths: Tensor) -> Tensor:
    """What a decoder does that treats every beam as a sequence of its own."""
    rows = q.transpose(1, 2).reshape(USERS * BEAMS, HEADS, 1, WIDTH)
    keys, values = (t.repeat_interleave(BEAMS, dim=0) for t in (k, v))
    valid = torch.arange(LENGTH) < lengths.repeat_interleave(BEAMS)[:, None]
    out = F.scaled_dot_product_attention(rows, keys, values, attn_mask=valid[:, None, None])
    return out.view(USERS, BEAMS, HEADS, WIDTH).transpose(1, 2)


@pytest.mark.parametrize(
    "method", [cross_attention_beams, with_repeated_memory], ids=["reference", "repeated_memory"]
)
def test_forward(benchmark: BenchmarkFixture, method: object) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    q = torch.randn(USERS, HEADS, BEAMS, WIDTH)
    k, v = (torch.randn(USERS, HEADS, LENGTH, WIDTH) for _ in range(2))
    lengths = torch.randint(1, LENGTH + 1, (USERS,))
    torch.testing.assert_close(
        cross_attention_beams(q, k, v, lengths),
        with_repeated_memory(q, k, v, lengths),
        atol=1e-5,
        rtol=1e-4,
    )
    benchmark.group = f"cross_attention_beams B{USERS} M{BEAMS} L{LENGTH}"
    benchmark.extra_info["flops"] = 4 * USERS * HEADS * BEAMS * LENGTH * WIDTH
    benchmark.pedantic(method, args=(q, k, v, lengths), rounds=20, warmup_rounds=3)
