"""Backward of `relation_attention`: two kernels, no atomics, nothing of size L x L in memory."""

# Triton's functions take no annotations.
# mypy: ignore-errors
# ruff: noqa: ANN001, ANN201
from __future__ import annotations

import triton
import triton.language as tl

from mmgrec_engine.kernels.relation_attention_forward import (
    LOG2E,
    add_product,
    gated_values,
    head_mask,
    head_tile,
    product,
    row_mask,
    row_tile,
    scores_base2,
    user_base,
    user_gates,
    user_span,
)


@triton.jit
def relation_attention_query_gradients(
    q, k, v, relation_q, relation_k, relation_v, gates, lengths, out, lse, d_out,
    delta, d_q, d_relation_q, d_product,
    q_user, q_head, q_row, k_user, k_head, k_row, v_user, v_head, v_row,
    uq_user, uq_row, uk_user, uk_row, uv_user, uv_row, gates_user, num_rows, num_blocks, all_rows,
    NUM_HEADS: tl.constexpr, HEAD_WIDTH: tl.constexpr, BLOCK_D: tl.constexpr,
    BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr, GROUP: tl.constexpr,
    PACKED: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Gradients that sum over keys; those that also sum over heads are left as one part per group.

    ::

        one program = one block of queries and one group of heads of one user
        delta = rowsum(dO O);  dS = P (dO V'^T - delta)              per tile of keys
        dQ = c dS K;  d(bias) = sum over heads dS;  dU_Q = c a_q a_k d(bias) U_K
        d(a_q a_k) = sum(U_Q c d(bias) U_K)
    """
    groups: tl.constexpr = (NUM_HEADS + GROUP - 1) // GROUP
    own_row: tl.constexpr = NUM_HEADS * HEAD_WIDTH
    scale: tl.constexpr = HEAD_WIDTH**-0.5
    program = tl.program_id(0)
    block = program % num_blocks
    group = program // num_blocks % groups
    user = (program // (num_blocks * groups)).to(tl.int64)
    first, length, limit = user_span(lengths, user, num_rows, PACKED)
    a_q, a_k, a_v = user_gates(gates, user, gates_user)
    heads = group * GROUP + tl.arange(0, GROUP)
    rows = block * BLOCK_Q + tl.arange(0, BLOCK_Q)

    k_base = user_base(k, user, first, k_user, k_row, PACKED)
    v_base = user_base(v, user, first, v_user, v_row, PACKED)
    uk_base = user_base(relation_k, user, first, uk_user, uk_row, PACKED)
    uv_base = user_base(relation_v, user, first, uv_user, uv_row, PACKED)

    exist = row_mask(rows, length, HEAD_WIDTH, BLOCK_D)
    uq_base = user_base(relation_q, user, first, uq_user, uq_row, PACKED)
    uq = tl.load(uq_base + row_tile(rows, uq_row, BLOCK_D), mask=exist, other=0.0)
    existing = head_mask(heads, NUM_HEADS, exist)
    q_base = user_base(q, user, first, q_user, q_row, PACKED)
    queries = tl.load(q_base + head_tile(heads, rows, q_head, q_row, BLOCK_D), existing, other=0.0)
    own = head_tile(heads, rows, HEAD_WIDTH, own_row, BLOCK_D)
    d_heads = tl.load(d_out + first * own_row + own, mask=existing, other=0.0)
    result = tl.load(out + first * own_row + own, mask=existing, other=0.0)
    deltas = tl.sum(d_heads.to(tl.float32) * result.to(tl.float32), 2)
    at = first * NUM_HEADS + rows[None, :] * NUM_HEADS + heads[:, None]
    stored = (heads < NUM_HEADS)[:, None] & (rows < limit)[None, :]
    tl.store(delta + at, deltas, mask=stored)
    logs = tl.load(lse + at, mask=stored, other=0.0) * LOG2E

    d_queries = tl.zeros([GROUP, BLOCK_Q, BLOCK_D], tl.float32)
    d_uq = tl.zeros([BLOCK_Q, BLOCK_D], tl.float32)
    end = tl.where(block * BLOCK_Q < length, length, 0)
    for start in range(0, end, BLOCK_K):
        keys = start + tl.arange(0, BLOCK_K)
        present = row_mask(keys, length, HEAD_WIDTH, BLOCK_D)
        exists = head_mask(heads, NUM_HEADS, present)
        # V first: its gating needs registers that are still free.
        uv = tl.load(uv_base + row_tile(keys, uv_row, BLOCK_D), present, other=0.0)
        tile_v = tl.load(v_base + head_tile(heads, keys, v_head, v_row, BLOCK_D), exists, other=0.0)
        values = gated_values(tile_v, uv, a_v)
        d_weights = product(d_heads, tl.permute(values, (0, 2, 1)), PRECISION)
        uk = tl.load(uk_base + row_tile(keys, uk_row, BLOCK_D), present, other=0.0)
        tile_k = tl.load(k_base + head_tile(heads, keys, k_head, k_row, BLOCK_D), exists, other=0.0)
        scores = scores_base2(queries, tile_k, uq, uk, a_q * a_k, scale * LOG2E, PRECISION)
        weights = tl.exp2(scores - logs[:, :, None])
        weights = tl.where((keys < length)[None, None, :], weights, 0.0)
        d_scores = weights * (d_weights - deltas[:, :, None])
        narrow = d_scores.to(tile_k.dtype)
        d_queries = add_product(d_queries, narrow, tile_k, PRECISION)
        d_bias = tl.sum(d_scores, 0).to(uk.dtype)
        d_uq = add_product(d_uq, d_bias, uk, PRECISION)

    every_row = row_mask(rows, limit, HEAD_WIDTH, BLOCK_D)
    if GROUP == 1:
        # Read again: held over the loop it makes fp32 spill; with more heads the opposite is true.
        uq_again = tl.load(uq_base + row_tile(rows, uq_row, BLOCK_D), mask=exist, other=0.0)
    else:
        uq_again = uq
    d_uq = d_uq * scale
    parts = d_product + (user * groups + group) * num_blocks + block
    tl.store(parts, tl.sum(tl.sum(d_uq * uq_again.to(tl.float32), 1), 0))
    at = (group * all_rows + first) * HEAD_WIDTH + row_tile(rows, HEAD_WIDTH, BLOCK_D)
    tl.store(d_relation_q + at, (d_uq * (a_q * a_k)).to(d_relation_q.dtype.element_ty), every_row)
    every = head_mask(heads, NUM_HEADS, every_row)
    tl.store(d_q + first * own_row + own, (d_queries * scale).to(d_q.dtype.element_ty), every)


@triton.jit
def relation_attention_key_gradients(
    q, k, v, relation_q, relation_k, relation_v, gates, lengths, lse, d_out, delta,
    d_k, d_v, d_relation_k, d_relation_v, d_gate_v,
    q_user, q_head, q_row, k_user, k_head, k_row, v_user, v_head, v_row,
    uq_user, uq_row, uk_user, uk_row, uv_user, uv_row, gates_user, num_rows, num_blocks, all_rows,
    NUM_HEADS: tl.constexpr, HEAD_WIDTH: tl.constexpr, BLOCK_D: tl.constexpr,
    BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr, GROUP: tl.constexpr,
    PACKED: tl.constexpr, PRECISION: tl.constexpr,
    OF_K: tl.constexpr, OF_V: tl.constexpr,
):  # fmt: skip
    """Gradients that sum over queries; tiles are transposed, [heads, keys, queries].

    ::

        one program = one block of keys and one group of heads of one user
        dV = P^T dO;  dK = c dS^T Q                                   per tile of queries
        dU_K = c a_q a_k (sum over heads dS)^T U_Q
        dU_V = a_v sum over heads dV;  da_v = sum(U_V, sum over heads dV)
    """
    groups: tl.constexpr = (NUM_HEADS + GROUP - 1) // GROUP
    own_row: tl.constexpr = NUM_HEADS * HEAD_WIDTH
    scale: tl.constexpr = HEAD_WIDTH**-0.5
    program = tl.program_id(0)
    block = program % num_blocks
    group = program // num_blocks % groups
    user = (program // (num_blocks * groups)).to(tl.int64)
    first, length, limit = user_span(lengths, user, num_rows, PACKED)
    a_q, a_k, a_v = user_gates(gates, user, gates_user)
    heads = group * GROUP + tl.arange(0, GROUP)
    keys = block * BLOCK_K + tl.arange(0, BLOCK_K)

    q_base = user_base(q, user, first, q_user, q_row, PACKED)
    d_base = d_out + first * own_row
    uq_base = user_base(relation_q, user, first, uq_user, uq_row, PACKED)

    exist = row_mask(keys, length, HEAD_WIDTH, BLOCK_D)
    existing = head_mask(heads, NUM_HEADS, exist)
    k_base = user_base(k, user, first, k_user, k_row, PACKED)
    uk_base = user_base(relation_k, user, first, uk_user, uk_row, PACKED)
    uv_base = user_base(relation_v, user, first, uv_user, uv_row, PACKED)
    uk = tl.load(uk_base + row_tile(keys, uk_row, BLOCK_D), exist, other=0.0)
    tile_k = tl.load(k_base + head_tile(heads, keys, k_head, k_row, BLOCK_D), existing, other=0.0)
    if OF_K:
        v_base = user_base(v, user, first, v_user, v_row, PACKED)
        values = tl.load(
            v_base + head_tile(heads, keys, v_head, v_row, BLOCK_D), existing, other=0.0
        )
        uv = tl.load(uv_base + row_tile(keys, uv_row, BLOCK_D), exist, other=0.0)
        values = gated_values(values, uv, a_v)
        d_keys = tl.zeros([GROUP, BLOCK_K, BLOCK_D], tl.float32)
        d_uk = tl.zeros([BLOCK_K, BLOCK_D], tl.float32)
    if OF_V:
        d_values = tl.zeros([GROUP, BLOCK_K, BLOCK_D], tl.float32)

    end = tl.where(block * BLOCK_K < length, length, 0)
    for start in range(0, end, BLOCK_Q):
        rows = start + tl.arange(0, BLOCK_Q)
        present = row_mask(rows, length, HEAD_WIDTH, BLOCK_D)
        uq = tl.load(uq_base + row_tile(rows, uq_row, BLOCK_D), present, other=0.0)
        exists = head_mask(heads, NUM_HEADS, present)
        queries = tl.load(
            q_base + head_tile(heads, rows, q_head, q_row, BLOCK_D), exists, other=0.0
        )
        span = first * NUM_HEADS + rows[None, :] * NUM_HEADS + heads[:, None]
        known = (heads < NUM_HEADS)[:, None] & (rows < length)[None, :]
        logs = tl.load(lse + span, mask=known, other=0.0) * LOG2E
        scores = scores_base2(tile_k, queries, uk, uq, a_q * a_k, scale * LOG2E, PRECISION)
        weights = tl.exp2(scores - logs[:, None, :])
        # Rows that do not exist have dO = 0; keys that do not may overflow here: 2^(0 - lse).
        weights = tl.where((keys < length)[None, :, None], weights, 0.0)
        d_heads = tl.load(
            d_base + head_tile(heads, rows, HEAD_WIDTH, own_row, BLOCK_D), exists, other=0.0
        )
        if OF_V:
            narrow = weights.to(d_heads.dtype)
            d_values = add_product(d_values, narrow, d_heads, PRECISION)
        if OF_K:
            deltas = tl.load(delta + span, mask=known, other=0.0)
            d_weights = product(values, tl.permute(d_heads, (0, 2, 1)), PRECISION)
            d_scores = weights * (d_weights - deltas[:, None, :])
            narrow = d_scores.to(queries.dtype)
            d_keys = add_product(d_keys, narrow, queries, PRECISION)
            d_bias = tl.sum(d_scores, 0).to(uq.dtype)
            d_uk = add_product(d_uk, d_bias, uq, PRECISION)

    own = first * own_row + head_tile(heads, keys, HEAD_WIDTH, own_row, BLOCK_D)
    every_row = row_mask(keys, limit, HEAD_WIDTH, BLOCK_D)
    every = head_mask(heads, NUM_HEADS, every_row)
    at = (group * all_rows + first) * HEAD_WIDTH + row_tile(keys, HEAD_WIDTH, BLOCK_D)
    if OF_K:
        tl.store(d_k + own, (d_keys * scale).to(d_k.dtype.element_ty), mask=every)
        d_uk = d_uk * (scale * a_q * a_k)
        tl.store(d_relation_k + at, d_uk.to(d_relation_k.dtype.element_ty), mask=every_row)
    if OF_V:
        tl.store(d_v + own, d_values.to(d_v.dtype.element_ty), mask=every)
        d_uv = tl.sum(d_values, 0)
        tl.store(d_relation_v + at, (d_uv * a_v).to(d_relation_v.dtype.element_ty), every_row)
        # Read again: held over the loop it would cost the registers that make wide heads spill.
        uv_again = tl.load(uv_base + row_tile(keys, uv_row, BLOCK_D), exist, other=0.0)
        parts = d_gate_v + (user * groups + group) * num_blocks + block
        tl.store(parts, tl.sum(tl.sum(d_uv * uv_again.to(tl.float32), 1), 0))
