"""Cross-attention of beams on their user's memory in Triton: forward only, for serving."""

# Triton's functions take no annotations; the rest of the file is checked.
# ruff: noqa: ANN001, ANN201
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from mmgrec_engine.kernels.compilation import Compilation
from mmgrec_engine.kernels.ranges import op_range
from mmgrec_engine.kernels.relation_attention_forward import (
    LOG2E,
    add_product,
    product,
    row_mask,
    row_tile,
)
from mmgrec_engine.kernels.relation_attention_launch import (
    WIDTHS,
    addressable,
    padded_width,
    rows_heads_width,
)


@triton.jit(  # type: ignore[untyped-decorator]
    do_not_specialize=["num_queries", "num_rows", "num_blocks"]
)
def cross_attention_beams_forward(  # type: ignore[no-untyped-def]
    q, k, v, lengths, out,
    q_user, q_head, q_row, k_user, k_head, k_row, v_user, v_head, v_row,
    num_queries, num_rows, num_blocks,
    NUM_HEADS: tl.constexpr, HEAD_WIDTH: tl.constexpr, BLOCK_D: tl.constexpr,
    BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Online softmax over blocks of memory rows for a block of queries of one head of one user.

    ::

        S = Q K^T / sqrt(d)                                  per tile of memory rows
        top' = max(top, rowmax S);  P = exp(S - top');  total, sums shrink by exp(top - top')
        out = sums / total;  no memory: zeros
    """
    own_row: tl.constexpr = NUM_HEADS * HEAD_WIDTH
    factor: tl.constexpr = HEAD_WIDTH**-0.5 * LOG2E
    program = tl.program_id(0)
    block = program % num_blocks
    head = program // num_blocks % NUM_HEADS
    user = (program // (num_blocks * NUM_HEADS)).to(tl.int64)
    # A length above L would read foreign memory; nobody can check it without a host sync.
    length = tl.minimum(tl.load(lengths + user), num_rows).to(tl.int32)
    rows = block * BLOCK_Q + tl.arange(0, BLOCK_Q)
    exist = row_mask(rows, num_queries, HEAD_WIDTH, BLOCK_D)
    q_base = q + user * q_user + head * q_head
    queries = tl.load(q_base + row_tile(rows, q_row, BLOCK_D), mask=exist, other=0.0)
    k_base = k + user * k_user + head * k_head
    v_base = v + user * v_user + head * v_head

    top = tl.full([BLOCK_Q], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK_Q], tl.float32)
    sums = tl.zeros([BLOCK_Q, BLOCK_D], tl.float32)
    for start in range(0, length, BLOCK_K):
        keys = start + tl.arange(0, BLOCK_K)
        present = row_mask(keys, length, HEAD_WIDTH, BLOCK_D)
        tile_k = tl.load(k_base + row_tile(keys, k_row, BLOCK_D), present, other=0.0)
        tile_v = tl.load(v_base + row_tile(keys, v_row, BLOCK_D), present, other=0.0)
        scores = product(queries, tl.trans(tile_k), PRECISION) * factor
        scores = tl.where((keys < length)[None, :], scores, float("-inf"))
        new_top = tl.maximum(top, tl.max(scores, 1))
        shrink = tl.exp2(top - new_top)
        weights = tl.exp2(scores - new_top[:, None])
        total = total * shrink + tl.sum(weights, 1)
        sums = add_product(sums * shrink[:, None], weights.to(tile_v.dtype), tile_v, PRECISION)
        top = new_top

    sums = sums / tl.where(total > 0, total, 1.0)[:, None]
    base = out + user * num_queries * own_row + head * HEAD_WIDTH
    tl.store(base + row_tile(rows, own_row, BLOCK_D), sums.to(out.dtype.element_ty), mask=exist)


@dataclass(frozen=True)
class Tiles:
    """Queries and memory rows per tile, warps and pipeline stages."""

    queries: int
    keys: int
    warps: int
    stages: int


# From ahead-of-time reports: the largest tiles without spills that leave eight warps or more. Few
# queries (one beam, or a narrow search) take the smallest tile there is.
HALF = dict.fromkeys(WIDTHS, Tiles(64, 32, 4, 2))
FULL = {
    16: Tiles(64, 32, 4, 1),
    32: Tiles(64, 32, 4, 1),
    64: Tiles(32, 32, 4, 1),
    128: Tiles(16, 16, 4, 1),
}
FEW = 16


def precision_of(dtype: torch.dtype, *, amd: bool = torch.version.hip is not None) -> str:
    """How products of a dtype are taken.

    NVIDIA's matrix units round float32 to 11 bits; three products of its two parts leave an error
    near 2^-22. AMD's take float32 as it is.
    """
    if dtype != torch.float32 or amd:
        return "ieee"
    return "tf32" if torch.backends.cuda.matmul.fp32_precision == "tf32" else "tf32x3"


def choose_tiles(width: int, queries: int, *, half: bool) -> Tiles:
    """Tiles of a launch for heads of a width and so many queries of a user."""
    tiles = (HALF if half else FULL)[min(padded_width(width), WIDTHS[-1])]
    return Tiles(FEW, tiles.keys, tiles.warps, tiles.stages) if queries <= FEW else tiles


def constants(tiles: Tiles, num_heads: int, width: int, precision: str) -> dict[str, Any]:
    """Collect the compile-time arguments."""
    return {
        "NUM_HEADS": num_heads,
        "HEAD_WIDTH": width,
        "BLOCK_D": padded_width(width),
        "BLOCK_Q": tiles.queries,
        "BLOCK_K": tiles.keys,
        "PRECISION": precision,
    }


def cross_attention_beams(q: Tensor, k: Tensor, v: Tensor, lengths: Tensor) -> Tensor:
    """`mmgrec_engine.ops.cross_attention_beams` on the device, forward only.

    ::

        one program = one user, one head, a block of queries
        the user's memory is read where it lies, by all queries of all beams

    Parameters
    ----------
    q : Tensor
        ``[B, H, M, d]``, fp32, fp16 or bf16, any strides.
    k, v : Tensor
        ``[B, H, L, d]``, the same dtype, any strides.
    lengths : Tensor
        ``[B]`` integer; rows at or beyond do not exist, 0 gives zeros.

    Returns
    -------
    Tensor
        ``[B, H, M, d]``, a transposed view of ``[B, M, H, d]``: merging heads is free.
    """
    users, heads, queries, width = q.shape
    out = rows_heads_width(q, zero=False)
    if out.numel() == 0:
        return out
    tiles = choose_tiles(width, queries, half=q.dtype != torch.float32)
    blocks = -(-queries // tiles.queries)
    fixed = constants(tiles, heads, width, precision_of(q.dtype))
    arrays = (addressable(q, queries), *(addressable(x, k.shape[2]) for x in (k, v)))
    strides = [stride for x in arrays for stride in x.stride()[:-1]]
    sizes = (queries, k.shape[2], blocks)
    options = {"num_warps": tiles.warps, "num_stages": tiles.stages}
    with torch.cuda.device_of(q), op_range("cross_attention_beams"):  # type: ignore[no-untyped-call]
        cross_attention_beams_forward[(users * heads * blocks,)](
            *arrays, lengths.contiguous(), out, *strides, *sizes, **fixed, **options
        )
    return out


def compilations(target: str) -> list[Compilation]:
    """Every configuration a launch can choose, for four heads and strides divisible by 16."""
    amd = target.startswith("gfx")
    kernel = cross_attention_beams_forward
    arguments = [a for a in kernel.arg_names if a.islower()]
    pointers = arguments[: arguments.index("q_user")]
    sizes = dict.fromkeys(("num_queries", "num_rows", "num_blocks"), "i32")
    found = []
    for dtype in ("bf16", "fp16", "fp32"):
        signature = dict.fromkeys(arguments, "i32:16") | sizes
        signature |= dict.fromkeys(pointers, f"*{dtype}") | {"lengths": "*i64"}
        full = torch.float32 if dtype == "fp32" else torch.float16
        precision = precision_of(full, amd=amd)
        for width in WIDTHS:
            for queries in (FEW, FEW + 1):
                tiles = choose_tiles(width, queries, half=dtype != "fp32")
                found.append(
                    Compilation(
                        name=kernel.__name__,
                        kernel=kernel,
                        signature=signature,
                        constexprs=constants(tiles, 4, width, precision),
                        num_warps=tiles.warps,
                        num_stages=tiles.stages,
                        config={"dtype": dtype, "head_width": width, "queries": tiles.queries},
                        matrix_units=True,
                    )
                )
    # At width 128 fp32 has one tile for few queries and for many.
    return list({str(c.config): c for c in found}.values())
