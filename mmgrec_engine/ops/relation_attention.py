"""Relation-aware self-attention over the set of a user's history items (MMGRec, section 3.3)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mmgrec_engine.errors import ConfigError


def relation_attention_reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    relation_q: Tensor,
    relation_k: Tensor,
    relation_v: Tensor,
    gates: Tensor,
    lengths: Tensor,
) -> Tensor:
    """Attend over history items with a pairwise relation bias that all heads share.

    ::

        bias    = a_q a_k (x U_Q) (x U_K)^T                 [B, L, L], shared by all heads
        S_h     = (Q_h K_h^T + bias) / sqrt(d_k)            keys >= length are masked
        head_h  = softmax(S_h) (V_h + a_v x U_V)            queries >= length give zeros

    Parameters
    ----------
    q, k, v : Tensor
        ``[B, H, L, d_k]`` projections per head.
    relation_q, relation_k, relation_v : Tensor
        ``[B, L, d_k]``: x U_Q, x U_K, x U_V, shared by the heads.
    gates : Tensor
        ``[B, 3]``: the user's scalars a_q, a_k, a_v.
    lengths : Tensor
        ``[B]`` integer, valid items per history; 0 gives a row of zeros.

    Returns
    -------
    Tensor
        ``[B, H, L, d_k]``.

    Raises
    ------
    ConfigError
        Shapes do not fit together.

    Notes
    -----
    This is the mathematics, written for reading: test oracle and slowest baseline.
    """
    _check_shapes(q, k, v, (relation_q, relation_k, relation_v), gates, lengths)
    a_q, a_k, a_v = (gates[:, i, None, None] for i in range(3))
    bias = a_q * a_k * (relation_q @ relation_k.transpose(1, 2))
    scores = (q @ k.transpose(2, 3) + bias[:, None]) / math.sqrt(q.shape[-1])
    valid = torch.arange(q.shape[2], device=q.device) < lengths[:, None]
    keys = valid[:, None, None, :]
    # The smallest finite number, not -inf: a history of length 0 must give zeros, not NaN.
    scores = scores.masked_fill(~keys, torch.finfo(scores.dtype).min)
    weights = torch.softmax(scores, dim=-1) * keys
    heads = weights @ (v + (a_v * relation_v)[:, None])
    return heads * valid[:, None, :, None]


def _check_shapes(
    q: Tensor, k: Tensor, v: Tensor, relations: tuple[Tensor, ...], gates: Tensor, lengths: Tensor
) -> None:
    if q.dim() != 4 or k.shape != q.shape or v.shape != q.shape:
        raise ConfigError(
            "relation_attention: q, k, v differ in shape",
            value=f"{tuple(q.shape)}, {tuple(k.shape)}, {tuple(v.shape)}",
            allowed="three times [B, H, L, d_k]",
        )
    users, _, length, width = q.shape
    for name, relation in zip(("relation_q", "relation_k", "relation_v"), relations, strict=True):
        if relation.shape != (users, length, width):
            raise ConfigError(
                f"relation_attention: {name} does not fit q",
                value=tuple(relation.shape),
                allowed=f"[B, L, d_k] = {(users, length, width)}",
            )
    if gates.shape != (users, 3) or lengths.shape != (users,):
        raise ConfigError(
            "relation_attention: gates or lengths do not fit q",
            value=f"{tuple(gates.shape)}, {tuple(lengths.shape)}",
            allowed=f"[B, 3] and [B] with B = {users}",
        )


relation_attention = relation_attention_reference
"""The op; the kernels of later versions stand beside the reference under this name."""
