"""The forward kernel of `relation_attention`, and the pieces it shares with the backward kernels.

::

    user_span, user_base, user_gates      where a user's rows lie, how many, its scalars
    row_tile, head_tile, *_mask           offsets and limits of tiles
    scores_base2, gated_values            S and V + a_v U_V of a tile
    relation_attention_forward            the kernel
"""

# Triton's functions take no annotations; helpers that are values are named by what they give.
# mypy: ignore-errors
# ruff: noqa: ANN001, ANN201, D401
from __future__ import annotations

import triton
import triton.language as tl

LOG2E = tl.constexpr(1.4426950408889634)
INTERPRETED = tl.constexpr(triton.knobs.runtime.interpret)


@triton.jit
def user_span(lengths, user, num_rows, PACKED: tl.constexpr):
    """First row of a user in arrays of our own layout, [all rows, ...], and number of valid rows.

    ``lengths`` holds the users' lengths or, packed, where each starts and the last ends.
    """
    if PACKED:
        first = tl.load(lengths + user).to(tl.int64)
        length = (tl.load(lengths + user + 1).to(tl.int64) - first).to(tl.int32)
        limit = length
    else:
        first = user * num_rows
        # A length above L would read foreign memory; nobody can check it without a host sync.
        length = tl.minimum(tl.load(lengths + user), num_rows).to(tl.int32)
        limit = num_rows
    return first, length, limit


@triton.jit
def user_base(pointer, user, first, stride_user, stride_row, PACKED: tl.constexpr):
    """Where a user's rows start in an array of the caller's layout."""
    return pointer + (first * stride_row if PACKED else user * stride_user)


@triton.jit
def user_gates(gates, user, stride_user):
    """The scalars a_q, a_k, a_v of one user."""
    base = gates + user * stride_user
    a_q = tl.load(base).to(tl.float32)
    a_k = tl.load(base + 1).to(tl.float32)
    a_v = tl.load(base + 2).to(tl.float32)
    return a_q, a_k, a_v


# Offsets stay 32 bits wide and the 64-bit base moves as a scalar: a loop then keeps half the
# registers for addresses. The launch copies inputs whose user spans more (`addressable`).
@triton.jit
def row_tile(rows, stride_row, BLOCK_D: tl.constexpr):
    """Offsets [rows, width]."""
    return rows[:, None] * stride_row + tl.arange(0, BLOCK_D)[None, :]


@triton.jit
def head_tile(heads, rows, stride_head, stride_row, BLOCK_D: tl.constexpr):
    """Offsets [heads, rows, width]."""
    return heads[:, None, None] * stride_head + row_tile(rows, stride_row, BLOCK_D)[None, :, :]


@triton.jit
def row_mask(rows, limit, HEAD_WIDTH: tl.constexpr, BLOCK_D: tl.constexpr):
    """What exists of a tile [rows, width]."""
    return (rows < limit)[:, None] & (tl.arange(0, BLOCK_D) < HEAD_WIDTH)[None, :]


@triton.jit
def head_mask(heads, NUM_HEADS: tl.constexpr, rows_exist):
    """What exists of a tile [heads, rows, width], given `row_mask`."""
    return (heads < NUM_HEADS)[:, None, None] & rows_exist[None, :, :]


@triton.jit
def product(left, right, PRECISION: tl.constexpr):
    """Matrix product in fp32, one per head where there are heads."""
    if INTERPRETED:
        # Its arrays of bf16 are plain 16-bit integers; in fp32 their products are the same, exact.
        left, right = left.to(tl.float32), right.to(tl.float32)
    return tl.dot(left, right, input_precision=PRECISION)


@triton.jit
def add_product(total, left, right, PRECISION: tl.constexpr):
    """``total`` + left right."""
    if INTERPRETED:
        left, right = left.to(tl.float32), right.to(tl.float32)
    return tl.dot(left, right, total, input_precision=PRECISION)


@triton.jit
def scores_base2(left, right, relation_left, relation_right, gate, factor, PRECISION: tl.constexpr):
    """(left right^T + gate relation_left relation_right^T) factor, for every head at once.

    The relation tile is one product for the program; the heads read it by broadcasting.
    """
    # Transposed, so that the side which stays over the loop is the one warps share out.
    bias = tl.trans(product(relation_right, tl.trans(relation_left), PRECISION))
    products = product(left, tl.permute(right, (0, 2, 1)), PRECISION)
    return (products + (bias * gate)[None, :, :]) * factor


@triton.jit
def gated_values(values, relation_v, gate):
    """V + a_v U_V of a tile, in the dtype of V; it exists in registers only."""
    together = values.to(tl.float32) + gate * relation_v.to(tl.float32)[None, :, :]
    return together.to(values.dtype)


@triton.jit
def relation_attention_forward(
    q, k, v, relation_q, relation_k, relation_v, gates, lengths, out, lse,
    q_user, q_head, q_row, k_user, k_head, k_row, v_user, v_head, v_row,
    uq_user, uq_row, uk_user, uk_row, uv_user, uv_row, gates_user, num_rows, num_blocks,
    NUM_HEADS: tl.constexpr, HEAD_WIDTH: tl.constexpr, BLOCK_D: tl.constexpr,
    BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr, GROUP: tl.constexpr,
    PACKED: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Online softmax over blocks of keys for a block of queries and a group of heads of one user.

    ::

        S = (Q K^T + a_q a_k U_Q U_K^T) / sqrt(d)            per tile of keys
        top' = max(top, rowmax S);  P = exp(S - top');  total, sums shrink by exp(top - top')
        total += rowsum P;  sums += P (V + a_v U_V)
        out = sums / total;  lse = top + log total;  rows >= length are written as zeros
    """
    groups: tl.constexpr = (NUM_HEADS + GROUP - 1) // GROUP
    own_row: tl.constexpr = NUM_HEADS * HEAD_WIDTH
    # Base 2: one instruction per exponential.
    factor: tl.constexpr = HEAD_WIDTH**-0.5 * LOG2E
    program = tl.program_id(0)
    block = program % num_blocks
    heads = program // num_blocks % groups * GROUP + tl.arange(0, GROUP)
    user = (program // (num_blocks * groups)).to(tl.int64)
    first, length, limit = user_span(lengths, user, num_rows, PACKED)
    a_q, a_k, a_v = user_gates(gates, user, gates_user)
    rows = block * BLOCK_Q + tl.arange(0, BLOCK_Q)

    k_base = user_base(k, user, first, k_user, k_row, PACKED)
    v_base = user_base(v, user, first, v_user, v_row, PACKED)
    uk_base = user_base(relation_k, user, first, uk_user, uk_row, PACKED)
    uv_base = user_base(relation_v, user, first, uv_user, uv_row, PACKED)

    exist = row_mask(rows, length, HEAD_WIDTH, BLOCK_D)
    uq_base = user_base(relation_q, user, first, uq_user, uq_row, PACKED)
    uq = tl.load(uq_base + row_tile(rows, uq_row, BLOCK_D), mask=exist, other=0.0)
    exist = head_mask(heads, NUM_HEADS, exist)
    q_base = user_base(q, user, first, q_user, q_row, PACKED)
    queries = tl.load(q_base + head_tile(heads, rows, q_head, q_row, BLOCK_D), exist, other=0.0)

    top = tl.full([GROUP, BLOCK_Q], float("-inf"), tl.float32)
    total = tl.zeros([GROUP, BLOCK_Q], tl.float32)
    sums = tl.zeros([GROUP, BLOCK_Q, BLOCK_D], tl.float32)
    end = tl.where(block * BLOCK_Q < length, length, 0)
    for start in range(0, end, BLOCK_K):
        keys = start + tl.arange(0, BLOCK_K)
        present = row_mask(keys, length, HEAD_WIDTH, BLOCK_D)
        uk = tl.load(uk_base + row_tile(keys, uk_row, BLOCK_D), present, other=0.0)
        exists = head_mask(heads, NUM_HEADS, present)
        tile_k = tl.load(k_base + head_tile(heads, keys, k_head, k_row, BLOCK_D), exists, other=0.0)
        scores = scores_base2(queries, tile_k, uq, uk, a_q * a_k, factor, PRECISION)
        scores = tl.where((keys < length)[None, None, :], scores, float("-inf"))
        new_top = tl.maximum(top, tl.max(scores, 2))
        shrink = tl.exp2(top - new_top)
        weights = tl.exp2(scores - new_top[:, :, None])
        total = total * shrink + tl.sum(weights, 2)
        uv = tl.load(uv_base + row_tile(keys, uv_row, BLOCK_D), present, other=0.0)
        tile_v = tl.load(v_base + head_tile(heads, keys, v_head, v_row, BLOCK_D), exists, other=0.0)
        values = gated_values(tile_v, uv, a_v)
        sums = sums * shrink[:, :, None]
        sums = add_product(sums, weights.to(values.dtype), values, PRECISION)
        top = new_top

    valid = (rows < length)[None, :]
    total = tl.where(valid, total, 1.0)
    sums = tl.where(valid[:, :, None], sums / total[:, :, None], 0.0)
    at = first * own_row + head_tile(heads, rows, HEAD_WIDTH, own_row, BLOCK_D)
    exist = head_mask(heads, NUM_HEADS, row_mask(rows, limit, HEAD_WIDTH, BLOCK_D))
    tl.store(out + at, sums.to(out.dtype.element_ty), mask=exist)
    logs = tl.where(valid, top / LOG2E + tl.log(total), 0.0)
    at = first * NUM_HEADS + rows[None, :] * NUM_HEADS + heads[:, None]
    exist = (heads < NUM_HEADS)[:, None] & (rows < limit)[None, :]
    tl.store(lse + at, logs, mask=exist)
