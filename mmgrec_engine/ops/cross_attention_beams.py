"""Cross-attention of all beams of a user on one copy of that user's encoder memory."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mmgrec_engine.errors import ConfigError


def cross_attention_beams_reference(q: Tensor, k: Tensor, v: Tensor, lengths: Tensor) -> Tensor:
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

    Returns
    -------
    Tensor
        ``[B, H, M, d_k]``.

    Raises
    ------
    ConfigError
        Shapes do not fit together.
    """
    if q.dim() != 4 or k.shape != v.shape or q.shape[:2] != k.shape[:2]:
        raise ConfigError(
            "cross_attention_beams: q, k, v do not fit together",
            value=f"{tuple(q.shape)}, {tuple(k.shape)}, {tuple(v.shape)}",
            allowed="[B, H, M, d_k] and twice [B, H, L, d_k]",
        )
    valid = torch.arange(k.shape[2], device=k.device) < lengths[:, None]
    keys = valid[:, None, None, :]
    scores = (q @ k.transpose(2, 3)) / math.sqrt(q.shape[-1])
    scores = scores.masked_fill(~keys, torch.finfo(scores.dtype).min)
    return (torch.softmax(scores, dim=-1) * keys) @ v


cross_attention_beams = cross_attention_beams_reference
"""The op; the kernels of later versions stand beside the reference under this name."""
