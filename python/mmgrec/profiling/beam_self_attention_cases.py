"""`beam_self_attention` beside torch: a cache that is moved beam by beam, and fused attention."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from mmgrec.profiling.cases import Case
from mmgrec_engine.ops.backends import choose
from mmgrec_engine.ops.beam_self_attention import (
    beam_self_attention,
    beam_self_attention_work,
)

HEADS, WIDTH, POSITION = 4, 16, 3
SHAPES = [(1, 10), (64, 50), (1024, 50)]
"""Users and beams; the position is the last of four."""

TOLERANCE = 1e-4


def beam_self_attention_cases(device: str = "cpu") -> Iterator[Callable[[], Case]]:
    """Yield the makers of all cases."""
    for users, beams in SHAPES if device != "cpu" else SHAPES[:2]:
        yield partial(_case, users, beams, device)


def with_sdpa(qkv: Tensor, past: Tensor, parents: Tensor) -> Tensor:
    """Do what a decoder does that moves its cache: gather by parent, append, fused attention.

    ``past`` ``[B, M, t, 2, H, K]``: keys and values of whole prefixes, beam by beam.
    """
    users, beams, _, heads, width = qkv.shape
    at = parents[:, :, None, None, None, None].expand_as(past)
    whole = torch.cat([past.gather(1, at), qkv[:, :, None, 1:]], 2).flatten(0, 1)
    keys, values = whole.permute(2, 0, 3, 1, 4)
    queries = qkv[:, :, 0].flatten(0, 1)[:, :, None]
    attended = F.scaled_dot_product_attention(queries, keys, values)
    return attended.reshape(users, beams, heads * width)


def _case(users: int, beams: int, device: str) -> Case:
    g = torch.Generator().manual_seed(0)
    numbers = torch.randn(POSITION + 1, users, beams, 3, HEADS, WIDTH, generator=g)
    parents = torch.randint(beams, (POSITION + 1, users, beams), dtype=torch.int32, generator=g)
    numbers, parents = numbers.to(device), parents.to(device)
    cache = numbers[:, :, :, 1:].contiguous()
    qkv, last = numbers[POSITION].contiguous(), parents[POSITION].long()
    past = _whole_prefixes(cache, parents)
    backend = choose("beam_self_attention", device=device)

    def ours(backend: str) -> Tensor:
        return beam_self_attention(qkv, cache, parents, POSITION, backend=backend)

    baselines: dict[str, Callable[[], object]] = {
        "torch_sdpa": lambda: with_sdpa(qkv, past, last),
    }
    if backend != "reference":
        baselines["reference"] = partial(ours, "reference")
    return Case(
        bench="beam_self_attention",
        shape={"B": users, "M": beams, "H": HEADS, "d": WIDTH, "position": POSITION},
        ours={backend: partial(ours, backend)},
        baselines=baselines,
        check=lambda: torch.testing.assert_close(
            ours(backend), with_sdpa(qkv, past, last), atol=TOLERANCE, rtol=TOLERANCE
        ),
        work=beam_self_attention_work(users, beams, POSITION, HEADS, WIDTH),
        items=users,
    )


def _whole_prefixes(cache: Tensor, parents: Tensor) -> Tensor:
    """Return ``[B, M, t, 2, H, K]`` of the beams of the position before the newest."""
    past = cache[0][:, :, None]
    for position in range(1, POSITION):
        at = parents[position].long()[:, :, None, None, None, None]
        gathered = past.gather(1, at.expand(-1, -1, *past.shape[2:]))
        past = torch.cat([gathered, cache[position][:, :, None]], 2)
    return past
