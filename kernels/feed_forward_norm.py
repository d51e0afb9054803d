"""Feed-forward block, residual and layer norm in one Triton kernel: forward only, for serving."""

# Triton's functions take no annotations; the rest of the file is checked.
# ruff: noqa: ANN001, ANN201
from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from mmgrec_engine.kernels.compilation import Compilation
from mmgrec_engine.kernels.cross_attention_beams import precision_of
from mmgrec_engine.kernels.linear_norm import (
    EPSILON,
    block_rows,
    normalised,
    row_block_compilations,
)
from mmgrec_engine.kernels.ranges import op_range
from mmgrec_engine.kernels.relation_attention_forward import add_product, product
from mmgrec_engine.kernels.relation_attention_launch import padded_width

STAGES = 2
"""Of the loads: a third would not fit AMD's shared memory."""


@triton.jit(do_not_specialize=["num_rows"])  # type: ignore[untyped-decorator]
def feed_forward_norm_forward(  # type: ignore[no-untyped-def]
    x, into, into_bias, out_of, out_of_bias, norm_weight, norm_bias, out, num_rows,
    INNER: tl.constexpr, WIDTH: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_F: tl.constexpr,
    BLOCK_R: tl.constexpr, EPSILON: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Take a block of rows; hidden numbers come and go in blocks.

    ::

        added = x + b_2;  per block of hidden numbers:
            h = relu(x W_1[block]^T + b_1[block]);  added += h W_2[:, block]^T
        out = layer_norm(added)
    """
    rows = tl.program_id(0).to(tl.int64) * BLOCK_R + tl.arange(0, BLOCK_R)
    column = tl.arange(0, BLOCK_E)
    inside = column < WIDTH
    mask = (rows < num_rows)[:, None] & inside[None, :]
    at = rows[:, None] * WIDTH + column[None, :]
    tile = tl.load(x + at, mask=mask, other=0.0)
    added = tl.zeros([BLOCK_R, BLOCK_E], tl.float32)
    for start in range(0, INNER, BLOCK_F):
        inner = start + tl.arange(0, BLOCK_F)
        exist = (inner < INNER)[None, :] & inside[:, None]
        first = tl.load(into + inner[None, :] * WIDTH + column[:, None], mask=exist, other=0.0)
        bias = tl.load(into_bias + inner, mask=inner < INNER, other=0.0).to(tl.float32)
        hidden = tl.maximum(product(tile, first, PRECISION) + bias[None, :], 0.0)
        exist = (inner < INNER)[:, None] & inside[None, :]
        second = tl.load(out_of + column[None, :] * INNER + inner[:, None], mask=exist, other=0.0)
        added = add_product(added, hidden.to(second.dtype), second, PRECISION)
    bias = tl.load(out_of_bias + column, mask=inside, other=0.0).to(tl.float32)
    added += tile.to(tl.float32) + bias[None, :]
    result = normalised(added, column, norm_weight, norm_bias, WIDTH, EPSILON)
    tl.store(out + at, result.to(out.dtype.element_ty), mask=mask)


def constants(inner: int, width: int, rows: int, precision: str, *, half: bool) -> dict[str, Any]:
    """Collect the compile-time arguments."""
    return {
        "INNER": inner,
        "WIDTH": width,
        "BLOCK_E": padded_width(width),
        "BLOCK_F": 32,
        # Two products at a time: of fp32 half as many rows, or registers spill.
        "BLOCK_R": min(block_rows(width, rows, precision), 64 if half else 32),
        "EPSILON": EPSILON,
        "PRECISION": precision,
    }


def feed_forward_norm(
    x: Tensor,
    into: Tensor,
    into_bias: Tensor,
    out_of: Tensor,
    out_of_bias: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
) -> Tensor:
    """`mmgrec_engine.ops.feed_forward_norm` on the device, forward only, up to `WIDEST`."""
    inner, width = into.shape
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    if out.numel() == 0:
        return out
    rows = out.numel() // width
    half = x.dtype != torch.float32
    fixed = constants(inner, width, rows, precision_of(x.dtype), half=half)
    weights = (into.contiguous(), into_bias, out_of.contiguous(), out_of_bias)
    with torch.cuda.device_of(x), op_range("feed_forward_norm"):  # type: ignore[no-untyped-call]
        feed_forward_norm_forward[(-(-rows // fixed["BLOCK_R"]),)](
            x.contiguous(),
            *weights,
            norm_weight,
            norm_bias,
            out,
            rows,
            **fixed,
            num_warps=4,
            num_stages=STAGES,
        )
    return out


def compilations(target: str) -> list[Compilation]:
    """Every model width, few rows and many; the inner width is four times the model's."""

    def fixed(width: int, rows: int, dtype: str, precision: str) -> dict[str, Any]:
        return constants(4 * width, width, rows, precision, half=dtype != "fp32")

    return row_block_compilations(feed_forward_norm_forward, target, fixed, num_stages=STAGES)
