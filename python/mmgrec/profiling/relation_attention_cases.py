"""`relation_attention` beside torch's fused attention with a materialised bias, and the formula."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from mmgrec.profiling.cases import Case
from mmgrec_engine.ops.backends import choose
from mmgrec_engine.ops.relation_attention import relation_attention, relation_attention_work

USERS, HEADS = 64, 4
# Head width 64 is the paper's, 16 the default preset's; "mixed" histories are what a catalogue has.
SHAPES = [(32, 64, "full"), (128, 64, "full"), (32, 16, "full"), (128, 16, "full")]
SHAPES += [(128, 16, "mixed")]
# Largest error allowed, relative to the largest magnitude of the answer in float32. In 16 bits the
# fused kernels round the materialised bias as well.
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2**-5}


def relation_attention_cases(device: str = "cpu") -> Iterator[Callable[[], Case]]:
    """Yield the makers of all cases."""
    for length, width, histories in SHAPES:
        yield partial(_case, length, width, histories, device)


def with_sdpa(*tensors: Tensor) -> Tensor:
    """Give [B, 1, L, L] bias and mask of the same mathematics to torch's fused kernel."""
    q, k, v, uq, uk, uv, gates, lengths = tensors
    a_q, a_k, a_v = (gates[:, i, None, None] for i in range(3))
    bias = (a_q * a_k / math.sqrt(q.shape[-1]) * (uq @ uk.transpose(1, 2)))[:, None]
    valid = torch.arange(q.shape[2], device=q.device) < lengths[:, None]
    bias = bias.masked_fill(~valid[:, None, None, :], float("-inf"))
    out = F.scaled_dot_product_attention(q, k, v + (a_v * uv)[:, None], attn_mask=bias)
    return out * valid[:, None, :, None]


def _case(length: int, width: int, histories: str, device: str) -> Case:
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    g = torch.Generator().manual_seed(0)
    # Projections as the model makes them: heads are views of one fused product.
    fused = torch.randn(USERS, length, 3, HEADS, width, generator=g).to(device, dtype)
    shared = torch.randn(USERS, length, 3 * width, generator=g).to(device, dtype)
    gates = torch.randn(USERS, 3, generator=g).to(device, dtype)
    lengths = torch.full((USERS,), length)
    if histories == "mixed":
        lengths = torch.randint(1, length + 1, (USERS,), generator=g)
    tensors = (*fused.permute(2, 0, 3, 1, 4).unbind(0), *shared.chunk(3, -1), gates)
    inputs = (*tensors, lengths.to(device))
    backend = choose("relation_attention", device=device)
    return Case(
        bench="relation_attention",
        shape={"B": USERS, "H": HEADS, "L": length, "d": width, "histories": histories},
        ours={backend: lambda: relation_attention(*inputs, backend=backend)},
        baselines={
            "torch_sdpa": lambda: with_sdpa(*inputs),
            "reference": lambda: relation_attention(*inputs),
        },
        check=lambda: _check(inputs, backend),
        work=relation_attention_work(lengths, HEADS, width, itemsize=dtype.itemsize),
        items=USERS,
    )


def _check(inputs: tuple[Tensor, ...], backend: str) -> None:
    wide = (x.float() if x.is_floating_point() else x for x in inputs)
    expected = relation_attention(*wide, backend="reference")
    largest = float(expected.abs().max())
    for found in (relation_attention(*inputs, backend=backend), with_sdpa(*inputs)):
        error = float((found.float() - expected).abs().max()) / largest
        if not error <= TOLERANCE[inputs[0].dtype]:
            raise AssertionError(f"relation_attention: the answers differ by {error:.1e}")
