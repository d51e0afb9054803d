"""The decoder one position at a time: what earlier positions left behind is kept, not recomputed.

Shapes: B users, M beams of the position in hand, t positions so far (1 before the first token), E
model width, H heads, K head width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mmgrec_engine.models.decoder import Decoder, DecoderLayer, Memory
from mmgrec_engine.models.encoder import merge_heads, split_heads
from mmgrec_engine.ops.cross_attention_beams import cross_attention_beams


class CachedDecoder:
    """The positions of one batch of beams, newest last.

    ::

        step(): the start vector of every user's one beam
        step(parents, tokens): beams that go on from `parents` of the last step with `tokens`
        both return what `Decoder.forward` has in its last position for the same prefixes

    The keys and values of a position are computed once, when it comes, and follow its beams by
    their parents. Nothing here waits for a device.

    Parameters
    ----------
    decoder : Decoder
        In evaluation: dropout is left out.
    memory : Memory
        The users' encoded histories.
    backend : str
        Of `cross_attention_beams`.
    """

    def __init__(self, decoder: Decoder, memory: Memory, *, backend: str = "reference") -> None:
        self._decoder, self._memory, self._backend = decoder, memory, backend
        self._past: list[Tensor | None] = [None] * len(decoder.layers)
        self._positions = 0

    def step(self, parents: Tensor | None = None, tokens: Tensor | None = None) -> Tensor:
        """Return the hidden vectors ``[B, M, E]`` of the next position.

        Parameters
        ----------
        parents : Tensor, optional
            ``[B, M]`` integer: which beam of the last step each beam goes on from.
        tokens : Tensor, optional
            ``[B, M]`` integer: with which token.
        """
        if parents is None or tokens is None:
            x = self._decoder.start.expand(len(self._memory.lengths), 1, -1)
        else:
            x = self._decoder.embeddings[self._positions - 1](tokens)
            parents = parents.long()
        for index, layer in enumerate(self._decoder.layers):
            assert isinstance(layer, DecoderLayer)
            x = self._layer(index, layer, x, parents)
        self._positions += 1
        return x

    def _layer(self, index: int, layer: DecoderLayer, x: Tensor, parents: Tensor | None) -> Tensor:
        users, beams, _ = x.shape
        qkv = layer.self_qkv(x).view(users, beams, 1, 3, layer.heads, -1)
        past = self._past[index] = _extended(self._past[index], qkv[:, :, :, 1:], parents)
        attended = _attend(qkv[:, :, 0, 0], past)
        x = layer.norm_self(x + layer.self_out(attended))
        (q,) = split_heads(layer.cross_q(x), 1, layer.heads)
        k, v = self._memory.keys_values[index]
        attended = cross_attention_beams(q, k, v, self._memory.lengths, backend=self._backend)
        x = layer.norm_cross(x + layer.cross_out(merge_heads(attended)))
        return torch.as_tensor(layer.norm_feed_forward(x + layer.feed_forward(x)))


def _extended(past: Tensor | None, newest: Tensor, parents: Tensor | None) -> Tensor:
    """Return keys and values ``[B, M, t, 2, H, K]`` of the beams that go on, and of the newest."""
    if past is None or parents is None:
        return newest
    at = parents.view(*parents.shape, 1, 1, 1, 1).expand(-1, -1, *past.shape[2:])
    return torch.cat([past.gather(1, at), newest], dim=2)


def _attend(q: Tensor, past: Tensor) -> Tensor:
    """Attend with ``[B, M, H, K]`` over a beam's own positions; return ``[B, M, H * K]``.

    Products of single rows, written out: a library call per beam would cost more than its sums.
    """
    keys, values = past.unbind(3)
    scores = (q[:, :, None] * keys).sum(-1) / math.sqrt(q.shape[-1])
    return (torch.softmax(scores, 2)[..., None] * values).sum(2).flatten(2)
