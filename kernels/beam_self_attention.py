"""Self-attention of beams over their own prefixes in Triton: forward only, for serving."""

# Triton's functions take no annotations; the rest of the file is checked.
# ruff: noqa: ANN001, ANN201
from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from mmgrec_engine.kernels.compilation import Compilation
from mmgrec_engine.kernels.ranges import op_range
from mmgrec_engine.kernels.relation_attention_forward import LOG2E
from mmgrec_engine.kernels.relation_attention_launch import WIDTHS


# One compilation serves all sizes: rows lie at multiples of constants.
@triton.jit(  # type: ignore[untyped-decorator]
    do_not_specialize=["num_users", "num_beams", "most_beams", "position", "num_blocks"]
)
def beam_self_attention_forward(  # type: ignore[no-untyped-def]
    qkv, cache, parents, out, num_users, num_beams, most_beams, position, num_blocks,
    NUM_HEADS: tl.constexpr, HEAD_WIDTH: tl.constexpr, BLOCK_H: tl.constexpr,
    BLOCK_D: tl.constexpr, BLOCK_M: tl.constexpr,
):  # fmt: skip
    """Online softmax over the positions of a block of beams of one user, all heads at once.

    ::

        k, v of the newest position go to the cache;  top = q . k, total = 1, sums = v
        beam = its parent;  per earlier position: k, v from where that beam left them
        out = sums / total
    """
    inner: tl.constexpr = NUM_HEADS * HEAD_WIDTH
    factor: tl.constexpr = HEAD_WIDTH**-0.5 * LOG2E
    program = tl.program_id(0)
    user = (program // num_blocks).to(tl.int64)
    beams = program % num_blocks * BLOCK_M + tl.arange(0, BLOCK_M)
    exist = beams < num_beams
    heads = tl.arange(0, BLOCK_H)
    column = tl.arange(0, BLOCK_D)
    cells = heads[:, None] * HEAD_WIDTH + column[None, :]
    inside = (heads < NUM_HEADS)[:, None] & (column < HEAD_WIDTH)[None, :]
    mask = exist[:, None, None] & inside[None, :, :]

    own = qkv + user * num_beams * 3 * inner + beams[:, None, None] * (3 * inner) + cells[None]
    q = tl.load(own, mask=mask, other=0.0)
    k = tl.load(own + inner, mask=mask, other=0.0)
    v = tl.load(own + 2 * inner, mask=mask, other=0.0)
    place = (position * num_users + user) * most_beams
    at = cache + place * (2 * inner) + beams[:, None, None] * (2 * inner) + cells[None]
    tl.store(at, k, mask=mask)
    tl.store(at + inner, v, mask=mask)

    queries = q.to(tl.float32) * factor
    top = tl.sum(queries * k.to(tl.float32), 2)
    total = tl.full([BLOCK_M, BLOCK_H], 1.0, tl.float32)
    sums = v.to(tl.float32)
    beam = beams
    for back in range(0, position):
        earlier = position - 1 - back
        place = (earlier * num_users + user) * most_beams
        later = ((earlier + 1) * num_users + user) * most_beams
        beam = tl.load(parents + later + beam, mask=exist, other=0)
        at = cache + place * (2 * inner) + beam[:, None, None] * (2 * inner) + cells[None]
        k = tl.load(at, mask=mask, other=0.0)
        v = tl.load(at + inner, mask=mask, other=0.0)
        scores = tl.sum(queries * k.to(tl.float32), 2)
        new_top = tl.maximum(top, scores)
        shrink = tl.exp2(top - new_top)
        weights = tl.exp2(scores - new_top)
        total = total * shrink + weights
        sums = sums * shrink[:, :, None] + weights[:, :, None] * v.to(tl.float32)
        top = new_top

    sums = sums / total[:, :, None]
    at = out + user * num_beams * inner + beams[:, None, None] * inner + cells[None]
    tl.store(at, sums.to(out.dtype.element_ty), mask=mask)


CELLS = 1024
"""Numbers of a tile: eight in each thread of four warps."""


def constants(num_heads: int, width: int) -> dict[str, int]:
    """Collect the compile-time arguments."""
    block_h, block_d = (1 << (n - 1).bit_length() for n in (num_heads, width))
    return {
        "NUM_HEADS": num_heads,
        "HEAD_WIDTH": width,
        "BLOCK_H": block_h,
        "BLOCK_D": block_d,
        "BLOCK_M": max(1, CELLS // (block_h * block_d)),
    }


def beam_self_attention(qkv: Tensor, cache: Tensor, parents: Tensor, position: int) -> Tensor:
    """`mmgrec_engine.ops.beam_self_attention` on the device, forward only."""
    users, beams, _, heads, width = qkv.shape
    out = qkv.new_empty(users, beams, heads * width)
    if out.numel() == 0:
        return out
    fixed = constants(heads, width)
    blocks = -(-beams // fixed["BLOCK_M"])
    sizes = (users, beams, cache.shape[2], position, blocks)
    with torch.cuda.device_of(qkv), op_range("beam_self_attention"):  # type: ignore[no-untyped-call]
        beam_self_attention_forward[(users * blocks,)](
            qkv, cache, parents, out, *sizes, **fixed, num_warps=4
        )
    return out


def compilations(target: str) -> list[Compilation]:
    """Every head width at four heads, the same for all targets; sizes of any divisibility."""
    kernel = beam_self_attention_forward
    sizes = ("num_users", "num_beams", "most_beams", "position", "num_blocks")
    found: list[Compilation] = []
    for dtype in ("bf16", "fp16", "fp32"):
        signature: dict[str, Any] = dict.fromkeys(("qkv", "cache", "out"), f"*{dtype}")
        signature |= {"parents": "*i32"} | dict.fromkeys(sizes, "i32")
        found += [
            Compilation(
                name=kernel.__name__,
                kernel=kernel,
                signature=signature,
                constexprs=constants(4, width),
                num_warps=4,
                num_stages=3,
                config={"dtype": dtype, "head_width": width},
                matrix_units=False,
            )
            for width in WIDTHS
        ]
    return found
