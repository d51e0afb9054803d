"""Relation-aware self-attention in Triton: launches, registration with torch, entries."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mmgrec_engine.kernels.compilation import Compilation
from mmgrec_engine.kernels.ranges import op_range
from mmgrec_engine.kernels.relation_attention_backward import (
    relation_attention_key_gradients,
    relation_attention_query_gradients,
)
from mmgrec_engine.kernels.relation_attention_forward import relation_attention_forward
from mmgrec_engine.kernels.relation_attention_launch import (
    WIDTHS,
    Inputs,
    describe,
    rows_heads_width,
)


@torch.library.custom_op("mmgrec::relation_attention_triton", mutates_args=())
def attention_op(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    relation_q: Tensor,
    relation_k: Tensor,
    relation_v: Tensor,
    gates: Tensor,
    lengths: Tensor,
    max_length: int,
    packed: bool,
) -> tuple[Tensor, Tensor]:
    """Heads ``[B, H, L, d]`` and log-sum-exp ``[B, H, L]``; both lie in memory with L before H.

    Packed: B is 1, L the number of all rows, and ``lengths`` the offsets of the users.
    """
    x = Inputs.of(
        (q, k, v), (relation_q, relation_k, relation_v), gates, lengths, max_length, packed
    )
    out = rows_heads_width(q, zero=packed)
    lse = rows_heads_width(q[..., :1].float(), zero=packed)
    with op_range("relation_attention"):
        x.launch(relation_attention_forward, "forward", (*x.tensors, out, lse), own_rows=False)
    return out, lse[..., 0]


@attention_op.register_fake
def _(q: Tensor, *_rest: Tensor | int) -> tuple[Tensor, Tensor]:
    lse = rows_heads_width(q[..., :1].float(), zero=False)
    return rows_heads_width(q, zero=False), lse[..., 0]


def _launch_backward(
    x: Inputs, d_out: Tensor, out: Tensor, lse: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of q, k, v, relation_q, relation_k, relation_v and gates.

    ::

        query kernel: dQ, delta and parts of dU_Q, d(a_q a_k)
        key kernel:   dK, dV and parts of dU_K, dU_V, d a_v     (reads delta)
        parts of the head groups and blocks are summed here, in a fixed order: no atomics
    """
    q, gates = x.tensors[0], x.tensors[-2]
    arrays: tuple[Tensor, ...]
    d_q, d_k, d_v = (rows_heads_width(q, zero=x.packed) for _ in range(3))
    delta = rows_heads_width(lse[..., None], zero=False)
    d_uq, d_product = _parts(x, "query_gradients"), _scalars(x, "query_gradients")
    d_uk, d_uv = _parts(x, "key_gradients"), _parts(x, "key_gradients")
    d_gate_v = _scalars(x, "key_gradients")
    # Merging heads after attention makes this layout the usual one: no copy.
    out, lse, d_out = (y.transpose(1, 2).contiguous() for y in (out, lse, d_out))
    arrays = (*x.tensors, out, lse, d_out, delta, d_q, d_uq, d_product)
    x.launch(relation_attention_query_gradients, "query_gradients", arrays)
    arrays = (*x.tensors, lse, d_out, delta, d_k, d_v, d_uk, d_uv, d_gate_v)
    x.launch(relation_attention_key_gradients, "key_gradients", arrays)
    product, of_v = d_product.sum((1, 2)), d_gate_v.sum((1, 2))
    d_gates = torch.stack([gates[:, 1] * product, gates[:, 0] * product, of_v], 1)
    d_uq, d_uk, d_uv = (_total(parts, q.dtype) for parts in (d_uq, d_uk, d_uv))
    return d_q, d_k, d_v, d_uq, d_uk, d_uv, d_gates.to(gates.dtype)


def _parts(x: Inputs, kernel: str) -> Tensor:
    """Room for a relation's gradient, ``[groups, B, L, d]``; fp32 where there is a sum to come."""
    q = x.tensors[0]
    users, _, rows, width = q.shape
    groups = x.grid(kernel)[1]
    make = torch.zeros if x.packed or x.empty else torch.empty
    dtype = q.dtype if groups == 1 else torch.float32
    return make((groups, users, rows, width), dtype=dtype, device=q.device)


def _scalars(x: Inputs, kernel: str) -> Tensor:
    """Room for one number per program, ``[B, groups, blocks]``."""
    return torch.empty(x.grid(kernel), dtype=torch.float32, device=x.tensors[0].device)


def _total(parts: Tensor, dtype: torch.dtype) -> Tensor:
    return parts[0] if parts.shape[0] == 1 else parts.sum(0).to(dtype)


@torch.library.custom_op("mmgrec::relation_attention_triton_backward", mutates_args=())
def backward_op(
    d_out: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    relation_q: Tensor,
    relation_k: Tensor,
    relation_v: Tensor,
    gates: Tensor,
    lengths: Tensor,
    out: Tensor,
    lse: Tensor,
    max_length: int,
    packed: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of the seven floating inputs, in their order."""
    x = Inputs.of(
        (q, k, v), (relation_q, relation_k, relation_v), gates, lengths, max_length, packed
    )
    with op_range("relation_attention_backward"):
        return _launch_backward(x, d_out, out, lse)


@backward_op.register_fake
def _(
    d_out: Tensor, q: Tensor, k: Tensor, v: Tensor, *rest: Tensor | int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    d_q, d_k, d_v = (rows_heads_width(x, zero=False) for x in (q, k, v))
    d_uq, d_uk, d_uv, d_gates = (x.new_empty(x.shape) for x in rest[:4] if isinstance(x, Tensor))
    return d_q, d_k, d_v, d_uq, d_uk, d_uv, d_gates


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:  # noqa: ANN401
    *tensors, ctx.max_length, ctx.packed = inputs
    ctx.save_for_backward(*tensors, *output)
    ctx.mark_non_differentiable(output[1])


def _differentiate(
    ctx: Any,  # noqa: ANN401
    d_out: Tensor,
    _d_lse: Tensor | None,
) -> tuple[Tensor | None, ...]:
    gradients = backward_op(d_out, *ctx.saved_tensors, ctx.max_length, ctx.packed)
    return *gradients, None, None, None


attention_op.register_autograd(_differentiate, setup_context=_save)


def relation_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    relation_q: Tensor,
    relation_k: Tensor,
    relation_v: Tensor,
    gates: Tensor,
    lengths: Tensor,
) -> Tensor:
    """`mmgrec_engine.ops.relation_attention` on the device, differentiable.

    ::

        one program = one user, a block of queries, a group of heads
        per tile of keys: the relation bias once, then every head of the group
        online softmax; nothing of size L x L is stored, forward or backward

    Parameters
    ----------
    q, k, v : Tensor
        ``[B, H, L, d]``, fp32, fp16 or bf16, any strides.
    relation_q, relation_k, relation_v : Tensor
        ``[B, L, d]``, the same dtype.
    gates : Tensor
        ``[B, 3]``: a_q, a_k, a_v.
    lengths : Tensor
        ``[B]`` integer; rows at or beyond give zeros, whatever they hold.

    Returns
    -------
    Tensor
        ``[B, H, L, d]``, a transposed view of ``[B, L, H, d]``: merging heads is free.
    """
    relations = (relation_q, relation_k, relation_v)
    out: Tensor = attention_op(q, k, v, *relations, gates, lengths, q.shape[2], False)[0]
    return out


def relation_attention_packed(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    relation_q: Tensor,
    relation_k: Tensor,
    relation_v: Tensor,
    gates: Tensor,
    cu_seqlens: Tensor,
    max_length: int,
) -> Tensor:
    """`relation_attention` of histories that lie one behind the other, without padding.

    Parameters
    ----------
    q, k, v : Tensor
        ``[total, H, d]``.
    relation_q, relation_k, relation_v : Tensor
        ``[total, d]``.
    gates : Tensor
        ``[B, 3]``.
    cu_seqlens : Tensor
        ``[B + 1]`` integer: user u owns the rows ``cu_seqlens[u] : cu_seqlens[u + 1]``.
    max_length : int
        At least the longest history.

    Returns
    -------
    Tensor
        ``[total, H, d]``; rows beyond ``cu_seqlens[B]`` are zeros.
    """
    one_user = (x.transpose(0, 1)[None] for x in (q, k, v))
    relations = (x[None] for x in (relation_q, relation_k, relation_v))
    out: Tensor = attention_op(*one_user, *relations, gates, cu_seqlens, max_length, True)[0]
    return out[0].transpose(0, 1)


def compilations(target: str) -> list[Compilation]:
    """Every configuration a launch can choose, for ``sm_80``, ``sm_90``, ``sm_100``, ``gfx942``."""
    kernels = (
        (relation_attention_forward, "forward"),
        (relation_attention_query_gradients, "query_gradients"),
        (relation_attention_key_gradients, "key_gradients"),
    )
    return [
        entry
        for kernel, name in kernels
        for dtype in ("bf16", "fp16", "fp32")
        for width in WIDTHS
        for entry in describe(kernel, name, dtype, width, target)
    ]
