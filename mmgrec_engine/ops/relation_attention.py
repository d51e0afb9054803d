"""Relation-aware self-attention over the set of a user's history items (MMGRec, section 3.3).

Shapes: B users, H heads, L history length, K head width (written d_k).
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

from mmgrec_engine.errors import BackendError, ConfigError
from mmgrec_engine.ops.work import Work

BACKENDS = ("native", "triton", "reference")


def relation_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    relation_q: Tensor,
    relation_k: Tensor,
    relation_v: Tensor,
    gates: Tensor,
    lengths: Tensor,
    *,
    backend: str = "reference",
) -> Tensor:
    """Attend over history items with a pairwise relation bias that all heads share.

    ::

        bias    = a_q a_k (x U_Q) (x U_K)^T                 [L, L] per user, shared by all heads
        S_h     = (Q_h K_h^T + bias) / sqrt(d_k)            keys >= length do not exist
        head_h  = softmax(S_h) (V_h + a_v x U_V)            queries >= length give zeros

    Differentiable in every floating argument. ``native`` computes only the forward pass itself; its
    gradient recomputes the reference, so training on a CPU takes ``reference``.

    Parameters
    ----------
    q, k, v : Tensor
        ``[B, H, L, d_k]`` projections per head, any strides.
    relation_q, relation_k, relation_v : Tensor
        ``[B, L, d_k]``: x U_Q, x U_K, x U_V, shared by the heads.
    gates : Tensor
        ``[B, 3]``: the user's scalars a_q, a_k, a_v.
    lengths : Tensor
        ``[B]`` integer, valid items per history; 0 gives a row of zeros.
    backend : {"reference", "native", "triton"}
        As chosen by `mmgrec_engine.ops.backends.choose`. ``native`` takes float32 on the CPU,
        ``triton`` float32, bfloat16 and float16 on a GPU.

    Returns
    -------
    Tensor
        ``[B, H, L, d_k]``.

    Raises
    ------
    ConfigError
        Shapes or types do not fit together; a length is above L (native).
    BackendError
        The backend is unknown.
    """
    relations = (relation_q, relation_k, relation_v)
    _check_shapes(q, k, v, relations, gates, lengths)
    if backend == "reference":
        return relation_attention_reference(q, k, v, *relations, gates, lengths)
    if backend == "native":
        from mmgrec_engine.ops.relation_attention_native import relation_attention_native

        return relation_attention_native(q, k, v, *relations, gates, lengths, packed=False)
    if backend == "triton":
        from mmgrec_engine.kernels import relation_attention as kernel

        return kernel.relation_attention(q, k, v, *relations, gates, lengths)
    raise _unknown(backend)


def relation_attention_packed(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    relation_q: Tensor,
    relation_k: Tensor,
    relation_v: Tensor,
    gates: Tensor,
    offsets: Tensor,
    max_length: int,
    *,
    backend: str = "reference",
) -> Tensor:
    """Attend over histories that lie one after another, without padding.

    ::

        user b owns rows offsets[b] .. offsets[b + 1];  the rest as in `relation_attention`

    Parameters
    ----------
    q, k, v : Tensor
        ``[R, H, d_k]``: R rows of all users.
    relation_q, relation_k, relation_v : Tensor
        ``[R, d_k]``.
    gates : Tensor
        ``[B, 3]``.
    offsets : Tensor
        ``[B + 1]`` int64, ascending from 0 to R (``cu_seqlens`` elsewhere).
    max_length : int
        Length of the longest history, or more: it sizes the launch without asking the device.
    backend : {"reference", "native", "triton"}
        See `relation_attention`.

    Returns
    -------
    Tensor
        ``[R, H, d_k]``.

    Raises
    ------
    ConfigError
        Shapes or types do not fit together; offsets do not ascend from 0 to R (native).
    BackendError
        The backend is unknown.
    """
    relations = (relation_q, relation_k, relation_v)
    _check_packed(q, k, v, relations, gates, offsets)
    if backend == "reference":
        return relation_attention_packed_reference(q, k, v, *relations, gates, offsets)
    if backend == "native":
        from mmgrec_engine.ops.relation_attention_native import relation_attention_native

        # One row dimension for all users, its heads outside: [1, H, R, d_k].
        heads = [x.transpose(0, 1)[None] for x in (q, k, v)]
        shared = [x[None] for x in relations]
        out = relation_attention_native(*heads, *shared, gates, offsets, packed=True)
        return out[0].transpose(0, 1)
    if backend == "triton":
        from mmgrec_engine.kernels import relation_attention as kernel

        return kernel.relation_attention_packed(q, k, v, *relations, gates, offsets, max_length)
    raise _unknown(backend)


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
    """Do the same as written on paper: test oracle and slowest baseline."""
    weights = relation_weights(q, k, relation_q, relation_k, gates, lengths)
    heads = weights @ (v + (gates[:, 2, None, None] * relation_v)[:, None])
    valid = torch.arange(q.shape[2], device=q.device) < lengths[:, None]
    return heads * valid[:, None, :, None]


def relation_weights(
    q: Tensor, k: Tensor, relation_q: Tensor, relation_k: Tensor, gates: Tensor, lengths: Tensor
) -> Tensor:
    """Return the softmax ``[B, H, L, L]`` as written on paper; 0 for keys that do not exist."""
    a_q, a_k = (gates[:, i, None, None] for i in range(2))
    bias = a_q * a_k * (relation_q @ relation_k.transpose(1, 2))
    scores = (q @ k.transpose(2, 3) + bias[:, None]) / math.sqrt(q.shape[-1])
    keys = (torch.arange(q.shape[2], device=q.device) < lengths[:, None])[:, None, None, :]
    # The smallest finite number, not -inf: a history of length 0 must give zeros, not NaN.
    scores = scores.masked_fill(~keys, torch.finfo(scores.dtype).min)
    return torch.softmax(scores, dim=-1) * keys


def relation_attention_packed_reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    relation_q: Tensor,
    relation_k: Tensor,
    relation_v: Tensor,
    gates: Tensor,
    offsets: Tensor,
) -> Tensor:
    """Do the same as `relation_attention_packed`, one user at a time."""
    parts = []
    for user, (first, last) in enumerate(pairwise(offsets.tolist())):
        q_1, k_1, v_1 = (x[first:last].transpose(0, 1)[None] for x in (q, k, v))
        uq_1, uk_1, uv_1 = (x[None, first:last] for x in (relation_q, relation_k, relation_v))
        length = torch.tensor([last - first], device=q.device)
        out = relation_attention_reference(
            q_1, k_1, v_1, uq_1, uk_1, uv_1, gates[user, None], length
        )
        parts.append(out[0].transpose(0, 1))
    return torch.cat(parts) if parts else q.new_zeros(q.shape)


def relation_attention_work(lengths: Tensor, heads: int, width: int, *, itemsize: int = 4) -> Work:
    """Return operations and bytes of a forward pass over histories of these lengths.

    ::

        per user of n items:  2 n^2 d_k for the bias; per head twice that (Q K^T, weights V)
                              n d_k numbers: q, k, v and out per head, three relations

    The softmax (about ten operations a weight) is not counted, as is usual.
    """
    n = lengths.double()
    squares, total = int((n * n).sum()), int(n.sum())
    flops = 2 * squares * width * (2 * heads + 1)
    return Work(flops, itemsize * (total * width * (4 * heads + 3) + 3 * len(lengths)))


def _unknown(backend: str) -> BackendError:
    return BackendError(
        "relation_attention has no such backend", value=backend, allowed=", ".join(BACKENDS)
    )


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
    _check_relations(relations, (users, length, width))
    if gates.shape != (users, 3) or lengths.shape != (users,):
        raise ConfigError(
            "relation_attention: gates or lengths do not fit q",
            value=f"{tuple(gates.shape)}, {tuple(lengths.shape)}",
            allowed=f"[B, 3] and [B] with B = {users}",
        )


def _check_packed(
    q: Tensor, k: Tensor, v: Tensor, relations: tuple[Tensor, ...], gates: Tensor, offsets: Tensor
) -> None:
    if q.dim() != 3 or k.shape != q.shape or v.shape != q.shape:
        raise ConfigError(
            "relation_attention_packed: q, k, v differ in shape",
            value=f"{tuple(q.shape)}, {tuple(k.shape)}, {tuple(v.shape)}",
            allowed="three times [R, H, d_k]",
        )
    _check_relations(relations, (q.shape[0], q.shape[2]))
    if offsets.dim() != 1 or len(offsets) < 1 or gates.shape != (len(offsets) - 1, 3):
        raise ConfigError(
            "relation_attention_packed: gates and offsets do not fit together",
            value=f"{tuple(gates.shape)}, {tuple(offsets.shape)}",
            allowed="[B, 3] and [B + 1]",
        )


def _check_relations(relations: tuple[Tensor, ...], shape: tuple[int, ...]) -> None:
    for name, relation in zip(("relation_q", "relation_k", "relation_v"), relations, strict=True):
        if relation.shape != shape:
            raise ConfigError(
                f"relation_attention: {name} does not fit q",
                value=tuple(relation.shape),
                allowed=f"the shape of q without its heads, {shape}",
            )
