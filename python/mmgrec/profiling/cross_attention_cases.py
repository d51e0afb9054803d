"""`cross_attention_beams` beside torch's fused attention: memory stored once, and repeated."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from mmgrec.profiling.cases import Case
from mmgrec_engine.ops.backends import choose
from mmgrec_engine.ops.cross_attention_beams import (
    cross_attention_beams,
    cross_attention_beams_work,
)

HEADS = 4
# Users, beams, history length, head width: one request, a batch, a large batch.
SHAPES = [(1, 10, 32, 16), (64, 50, 32, 16), (64, 50, 128, 16), (1024, 50, 32, 16)]
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 5e-2}


def cross_attention_cases(device: str = "cpu") -> Iterator[Callable[[], Case]]:
    """Yield the makers of all cases; on a GPU in 32 and in 16 bits."""
    dtypes = [torch.float32] if device == "cpu" else [torch.float32, torch.bfloat16]
    for dtype in dtypes:
        for shape in SHAPES if device != "cpu" else SHAPES[1:2]:
            yield partial(_case, *shape, dtype, device)


def with_sdpa(q: Tensor, k: Tensor, v: Tensor, lengths: Tensor) -> Tensor:
    """Give torch's fused attention the memory once per user, as our op has it."""
    valid = torch.arange(k.shape[2], device=k.device) < lengths[:, None]
    return F.scaled_dot_product_attention(q, k, v, attn_mask=valid[:, None, None])


def with_repeated_memory(q: Tensor, k: Tensor, v: Tensor, lengths: Tensor) -> Tensor:
    """Do what a decoder does that treats every beam as a sequence of its own."""
    users, heads, beams, width = q.shape
    rows = q.transpose(1, 2).reshape(users * beams, heads, 1, width)
    keys, values = (t.repeat_interleave(beams, dim=0) for t in (k, v))
    valid = torch.arange(k.shape[2], device=k.device) < lengths.repeat_interleave(beams)[:, None]
    out = F.scaled_dot_product_attention(rows, keys, values, attn_mask=valid[:, None, None])
    return out.view(users, beams, heads, width).transpose(1, 2)


def _case(users: int, beams: int, length: int, width: int, dtype: torch.dtype, device: str) -> Case:
    g = torch.Generator().manual_seed(0)
    # Projections as the decoder makes them: heads are views.
    q = torch.randn(users, beams, HEADS, width, generator=g).to(device, dtype).transpose(1, 2)
    fused = torch.randn(users, length, 2, HEADS, width, generator=g).to(device, dtype)
    k, v = fused.permute(2, 0, 3, 1, 4).unbind(0)
    lengths = torch.randint(1, length + 1, (users,), generator=g)
    inputs = (q, k, v, lengths.to(device))
    backend = choose("cross_attention_beams", device=device)

    def check() -> None:
        expected = cross_attention_beams(q.double(), k.double(), v.double(), inputs[3]).to(dtype)
        for method in (*ours.values(), *baselines.values()):
            torch.testing.assert_close(
                method(), expected, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype]
            )

    ours = {backend: lambda: cross_attention_beams(*inputs, backend=backend)}
    baselines: dict[str, Callable[[], Tensor]] = {
        "torch_sdpa": lambda: with_sdpa(*inputs),
        "repeated_memory": lambda: with_repeated_memory(*inputs),
    }
    if backend != "reference":
        baselines["reference"] = lambda: cross_attention_beams(*inputs)
    return Case(
        bench="cross_attention_beams",
        shape={"B": users, "H": HEADS, "M": beams, "L": length, "d": width}
        | {"dtype": str(dtype).removeprefix("torch.")},
        ours={**ours},
        baselines={**baselines},
        check=check,
        work=cross_attention_beams_work(lengths, HEADS, beams, width, itemsize=dtype.itemsize),
        items=users,
    )
