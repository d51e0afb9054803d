"""The reference of `relation_attention` beside torch's fused attention with a materialised bias."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from mmgrec_engine.ops.relation_attention import relation_attention

USERS, HEADS, WIDTH = 64, 4, 16


def with_sdpa(*tensors: Tensor) -> Tensor:
    """The same mathematics with [B, 1, L, L] bias and mask given to the fused kernel."""
    q, k, v, uq, uk, uv, gates, lengths = tensors
    a_q, a_k, a_v = (gates[:, i, None, None] for i in range(3))
    bias = (a_q * a_k * (uq @ uk.transpose(1, 2)) / math.sqrt(WIDTH))[:, None]
    valid = torch.arange(q.shape[2]) < lengths[:, None]
    bias = bias.masked_fill(~valid[:, None, None, :], float("-inf"))
    out = F.scaled_dot_product_attention(q, k, v + (a_v * uv)[:, None], attn_mask=bias)
    return out * valid[:, None, :, None]


@pytest.mark.parametrize("length", [32, 128])
@pytest.mark.parametrize("method", [relation_attention, with_sdpa], ids=["reference", "torch_sdpa"])
def test_forward(benchmark: BenchmarkFixture, length: int, method: object) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    tensors = [torch.randn(USERS, HEADS, length, WIDTH) for _ in range(3)]
    tensors += [torch.randn(USERS, length, WIDTH) for _ in range(3)]
    tensors += [torch.randn(USERS, 3), torch.randint(1, length + 1, (USERS,))]
    torch.testing.assert_close(
        relation_attention(*tensors), with_sdpa(*tensors), atol=1e-4, rtol=1e-4
    )
    benchmark.group = f"relation_attention B{USERS} L{length}"
    benchmark.extra_info["flops"] = USERS * (4 * HEADS + 2) * length * length * WIDTH
    benchmark.pedantic(method, args=tensors, rounds=20, iterations=1, warmup_rounds=3)
