"""Cross-attention of all beams of a user on one copy of that user's encoder memory."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mmgrec_engine.errors import ConfigError
from mmgrec_engine.ops.forward_only import on_triton
from mmgrec_engine.ops.work import Work


def cross_attention_beams(
    q: Tensor, k: Tensor, v: Tensor, lengths: Tensor, *, backend: str = "reference"
) -> Tensor:
    """Let every query of a user attend to the user's memory, which is stored once.

    ::

        S = Q K^T / sqrt(d_k)        keys >= length are masked
        out = softmax(S) V           a memory of length 0 gives zeros

    Parameters
    ----------
    q : Tensor
        ``[B, H, M, d_k]``; M counts the queries of all beams of the user (beams x positions).
    k, v : Tensor
        ``[B, H, L, d_k]``, computed once per user and never repeated over beams.
    lengths : Tensor
        ``[B]`` integer, valid memory rows per user.
    backend : {"triton", "reference"}
        As chosen by `mmgrec_engine.ops.backends.choose`. ``triton`` takes float32, bfloat16 and
        float16 on a GPU and computes only the forward pass; where a gradient is needed, the
        reference runs in its place.

    Returns
    -------
    Tensor
        ``[B, H, M, d_k]``.

    Raises
    ------
    ConfigError
        Shapes do not fit together.
    BackendError
        The backend is unknown.
    """
    _check_shapes(q, k, v, lengths)
    if on_triton("cross_attention_beams", backend, q, k, v):
        from mmgrec_engine.kernels import cross_attention_beams as kernel

        return kernel.cross_attention_beams(q, k, v, lengths)
    return cross_attention_beams_reference(q, k, v, lengths)


def cross_attention_beams_reference(q: Tensor, k: Tensor, v: Tensor, lengths: Tensor) -> Tensor:
    """Do the same as written on paper: test oracle and slowest baseline."""
    valid = torch.arange(k.shape[2], device=k.device) < lengths[:, None]
    keys = valid[:, None, None, :]
    scores = (q @ k.transpose(2, 3)) / math.sqrt(q.shape[-1])
    scores = scores.masked_fill(~keys, torch.finfo(scores.dtype).min)
    return (torch.softmax(scores, dim=-1) * keys) @ v


def cross_attention_beams_work(
    lengths: Tensor, heads: int, queries: int, width: int, *, itemsize: int = 4
) -> Work:
    """Return operations and bytes for memories of these lengths.

    ::

        per user of n rows and M queries, per head:  4 M n d_k operations (Q K^T, weights V)
                                                     (2 n + 2 M) d_k numbers: k, v, q and out
    """
    total, users = int(lengths.sum()), len(lengths)
    numbers = 2 * heads * width * (total + users * queries)
    return Work(4 * heads * width * queries * total, itemsize * numbers)


def _check_shapes(q: Tensor, k: Tensor, v: Tensor, lengths: Tensor) -> None:
    fits = q.dim() == k.dim() == 4 and k.shape == v.shape and lengths.shape == q.shape[:1]
    if not fits or (*q.shape[:2], q.shape[3]) != (*k.shape[:2], k.shape[3]):
        raise ConfigError(
            "cross_attention_beams: q, k, v and lengths do not fit together",
            value=f"{tuple(q.shape)}, {tuple(k.shape)}, {tuple(v.shape)}, {tuple(lengths.shape)}",
            allowed="[B, H, M, d_k], twice [B, H, L, d_k] and [B]",
        )
