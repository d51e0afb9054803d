"""Self-attention of beams over their own prefixes, whose keys and values lie where they were made.

Shapes: B users, M beams of the position in hand, W most beams, T positions, H heads, K head width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mmgrec_engine.errors import ConfigError
from mmgrec_engine.ops.forward_only import on_triton
from mmgrec_engine.ops.work import Work


def beam_self_attention(
    qkv: Tensor, cache: Tensor, parents: Tensor, position: int, *, backend: str = "reference"
) -> Tensor:
    """Let the newest position of every beam attend to all positions of its prefix.

    ::

        cache[position] = k, v                    of the newest position, for later ones
        beam = m, then for every earlier position, newest first:  beam = parents[..][beam]
        out = softmax over positions (q . k / sqrt(K)) v

    Nothing is moved when beams die or branch: a search keeps a few parents per position instead of
    copying the keys and values of whole prefixes at every step. Not differentiable.

    Parameters
    ----------
    qkv : Tensor
        ``[B, M, 3, H, K]``, contiguous.
    cache : Tensor
        ``[T, B, W, 2, H, K]``, the same dtype, contiguous: keys and values of earlier positions;
        those of the newest are written to it.
    parents : Tensor
        ``[T, B, W]`` int32, contiguous: ``parents[t, b, m]`` is the beam of position t - 1 that
        beam m of position t goes on from. Row 0 is not read.
    position : int
        Of the newest position, from 0.
    backend : {"triton", "reference"}
        As chosen by `mmgrec_engine.ops.backends.choose`. ``triton`` takes float32, bfloat16 and
        float16 on a GPU.

    Returns
    -------
    Tensor
        ``[B, M, H * K]``.

    Raises
    ------
    ConfigError
        Shapes do not fit together, or a tensor is not contiguous.
    BackendError
        The backend is unknown.
    """
    _check_shapes(qkv, cache, parents, position)
    if on_triton("beam_self_attention", backend):
        from mmgrec_engine.kernels import beam_self_attention as kernel

        return kernel.beam_self_attention(qkv, cache, parents, position)
    return beam_self_attention_reference(qkv, cache, parents, position)


def beam_self_attention_reference(
    qkv: Tensor, cache: Tensor, parents: Tensor, position: int
) -> Tensor:
    """Do the same in gathers and sums: test oracle and slowest baseline."""
    users, beams = qkv.shape[:2]
    cache[position, :, :beams] = qkv[:, :, 1:]
    beam = torch.arange(beams, device=qkv.device).expand(users, -1)
    rows = [qkv[:, :, 1:]]
    for earlier in range(position - 1, -1, -1):
        beam = parents[earlier + 1].long().gather(1, beam)
        at = beam[:, :, None, None, None].expand(-1, -1, *cache.shape[3:])
        rows.append(cache[earlier].gather(1, at))
    keys, values = torch.stack(rows, 2).unbind(3)
    scores = (qkv[:, :, None, 0] * keys).sum(-1) / math.sqrt(qkv.shape[-1])
    return (torch.softmax(scores, 2)[..., None] * values).sum(2).flatten(2)


def beam_self_attention_work(
    users: int, beams: int, position: int, heads: int, width: int, *, itemsize: int = 4
) -> Work:
    """Return operations and bytes of one position.

    ::

        per beam and head:  4 (p + 1) K operations
                            3 K read, 2 K written to the cache, K of the result; 2 K per earlier one

    Beams may share ancestors: what is read once for several is counted for each.
    """
    cells = users * beams * heads * width
    return Work(4 * (position + 1) * cells, itemsize * cells * (6 + 2 * position))


def _check_shapes(qkv: Tensor, cache: Tensor, parents: Tensor, position: int) -> None:
    fits = (
        qkv.dim() == 5
        and cache.dim() == 6
        and cache.shape[3:] == (2, *qkv.shape[3:])
        and qkv.shape[2] == 3
        and parents.shape == cache.shape[:3]
        and cache.shape[1] == qkv.shape[0]
        and qkv.shape[1] <= cache.shape[2]
        and 0 <= position < cache.shape[0]
    )
    if not fits or not all(x.is_contiguous() for x in (qkv, cache, parents)):
        raise ConfigError(
            "beam_self_attention: qkv, cache and parents do not fit together",
            value=f"{tuple(qkv.shape)}, {tuple(cache.shape)}, {tuple(parents.shape)}, "
            f"position {position}",
            allowed="[B, M, 3, H, K], [T, B, W, 2, H, K], [T, B, W] with M <= W, position < T, "
            "all contiguous",
        )
