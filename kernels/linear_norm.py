"""Projection, residual and layer norm in one Triton kernel: forward only, for serving."""

# Triton's functions take no annotations; the rest of the file is checked.
# ruff: noqa: ANN001, ANN201
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from mmgrec_engine.kernels.compilation import Compilation
from mmgrec_engine.kernels.cross_attention_beams import precision_of
from mmgrec_engine.kernels.ranges import op_range
from mmgrec_engine.kernels.relation_attention_forward import add_product
from mmgrec_engine.kernels.relation_attention_launch import padded_width

EPSILON = 1e-5
"""Of torch's layer norm, by default."""

WIDEST = 128
"""Model width whose row fits a tile's registers beside the products."""

MANY = 4096
"""Rows from which larger tiles still give every processor some."""


@triton.jit  # type: ignore[untyped-decorator]
def normalised(added, column, norm_weight, norm_bias, WIDTH: tl.constexpr, EPSILON: tl.constexpr):  # type: ignore[no-untyped-def]
    """Layer norm of a tile [rows, width] in fp32; columns beyond the width hold zeros."""
    inside = column < WIDTH
    mean = tl.sum(added, 1) / WIDTH
    centred = tl.where(inside[None, :], added - mean[:, None], 0.0)
    scale = tl.rsqrt(tl.sum(centred * centred, 1) / WIDTH + EPSILON)
    gain = tl.load(norm_weight + column, mask=inside, other=0.0).to(tl.float32)
    shift = tl.load(norm_bias + column, mask=inside, other=0.0).to(tl.float32)
    return centred * scale[:, None] * gain[None, :] + shift[None, :]


@triton.jit(do_not_specialize=["num_rows"])  # type: ignore[untyped-decorator]
def linear_norm_forward(  # type: ignore[no-untyped-def]
    x, residual, weight, norm_weight, norm_bias, out, num_rows,
    INNER: tl.constexpr, WIDTH: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_N: tl.constexpr,
    BLOCK_R: tl.constexpr, EPSILON: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Take a block of rows: the product over blocks of the inner width, then the norm.

    ::

        added = residual + sum over blocks of x[:, block] W[:, block]^T;  out = layer_norm(added)
    """
    rows = tl.program_id(0).to(tl.int64) * BLOCK_R + tl.arange(0, BLOCK_R)
    column = tl.arange(0, BLOCK_E)
    mask = (rows < num_rows)[:, None] & (column < WIDTH)[None, :]
    added = tl.zeros([BLOCK_R, BLOCK_E], tl.float32)
    for start in range(0, INNER, BLOCK_N):
        inner = start + tl.arange(0, BLOCK_N)
        exist = (rows < num_rows)[:, None] & (inner < INNER)[None, :]
        tile = tl.load(x + rows[:, None] * INNER + inner[None, :], mask=exist, other=0.0)
        exist = (inner < INNER)[:, None] & (column < WIDTH)[None, :]
        # Transposed as it is read.
        part = tl.load(weight + column[None, :] * INNER + inner[:, None], mask=exist, other=0.0)
        added = add_product(added, tile, part, PRECISION)
    at = rows[:, None] * WIDTH + column[None, :]
    added += tl.load(residual + at, mask=mask, other=0.0).to(tl.float32)
    result = normalised(added, column, norm_weight, norm_bias, WIDTH, EPSILON)
    tl.store(out + at, result.to(out.dtype.element_ty), mask=mask)


def constants(inner: int, width: int, rows: int, precision: str) -> dict[str, Any]:
    """Collect the compile-time arguments."""
    return {
        "INNER": inner,
        "WIDTH": width,
        "BLOCK_E": padded_width(width),
        "BLOCK_N": 32,
        "BLOCK_R": block_rows(width, rows, precision),
        "EPSILON": EPSILON,
        "PRECISION": precision,
    }


def block_rows(width: int, rows: int, precision: str) -> int:
    """Rows of a tile: few where there are few, or where products of fp32 take the registers."""
    wide = padded_width(width) > 64 and precision != "ieee"
    return 16 if rows < MANY or wide else 64


def linear_norm(
    x: Tensor, residual: Tensor, weight: Tensor, norm_weight: Tensor, norm_bias: Tensor
) -> Tensor:
    """`mmgrec_engine.ops.linear_norm` on the device, forward only, up to `WIDEST`."""
    width, inner = weight.shape
    out = torch.empty_like(residual, memory_format=torch.contiguous_format)
    if out.numel() == 0:
        return out
    rows = out.numel() // width
    fixed = constants(inner, width, rows, precision_of(x.dtype))
    tensors = (x.contiguous(), residual.contiguous(), weight.contiguous(), norm_weight, norm_bias)
    with torch.cuda.device_of(x), op_range("linear_norm"):  # type: ignore[no-untyped-call]
        linear_norm_forward[(-(-rows // fixed["BLOCK_R"]),)](
            *tensors, out, rows, **fixed, num_warps=4
        )
    return out


def compilations(target: str) -> list[Compilation]:
    """Every model width, few rows and many; the inner width is the model's."""

    def fixed(width: int, rows: int, dtype: str, precision: str) -> dict[str, Any]:
        return constants(width, width, rows, precision)

    return row_block_compilations(linear_norm_forward, target, fixed, num_stages=3)


def row_block_compilations(
    kernel: Any,  # noqa: ANN401 - Triton's kernels have no type
    target: str,
    constants_of: Callable[[int, int, str, str], dict[str, Any]],
    *,
    num_stages: int,
) -> list[Compilation]:
    """Describe a kernel over blocks of rows for every dtype, model width, few rows and many.

    ``constants_of``: compile-time arguments by model width, rows, dtype and precision.
    """
    arguments = [a for a in kernel.arg_names if a.islower()]
    found = []
    for dtype in ("bf16", "fp16", "fp32"):
        full = torch.float32 if dtype == "fp32" else torch.float16
        precision = precision_of(full, amd=target.startswith("gfx"))
        signature = dict.fromkeys(arguments, f"*{dtype}") | {"num_rows": "i32"}
        for width in (16, 32, 64, WIDEST):
            for rows in (1, MANY):
                fixed = constants_of(width, rows, dtype, precision)
                found.append(
                    Compilation(
                        name=kernel.__name__,
                        kernel=kernel,
                        signature=signature,
                        constexprs=fixed,
                        num_warps=4,
                        num_stages=num_stages,
                        config={"dtype": dtype, "width": width, "rows": fixed["BLOCK_R"]},
                        matrix_units=True,
                    )
                )
    # The widest fp32 rows have one tile for few and for many.
    return list({str(c.config): c for c in found}.values())
