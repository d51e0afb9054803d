"""The decoder one position at a time: what earlier positions left behind is kept, not recomputed.

Shapes: B users, M beams of the position in hand, W most beams, E model width, T positions, H heads,
K head width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmgrec_engine.models.decoder import Decoder, DecoderLayer, Memory
from mmgrec_engine.models.encoder import merge_heads, split_heads
from mmgrec_engine.ops.beam_self_attention import beam_self_attention
from mmgrec_engine.ops.cross_attention_beams import cross_attention_beams
from mmgrec_engine.ops.feed_forward_norm import feed_forward_norm
from mmgrec_engine.ops.linear_norm import linear_norm


class CachedDecoder:
    """The positions of one batch of beams.

    ::

        step(): the start vector of every user's one beam
        step(parents, tokens): beams that go on from `parents` of the last step with `tokens`
        both return what `Decoder.forward` has in its last position for the same prefixes

    The keys and values of a position are computed once, when it comes, and stay where they are;
    beams find theirs by their parents. Nothing here waits for a device.

    Parameters
    ----------
    decoder : Decoder
        In evaluation: dropout is left out.
    memory : Memory
        The users' encoded histories.
    width : int
        W.
    backend : str
        Of `cross_attention_beams`, `beam_self_attention`, `linear_norm`, `feed_forward_norm`.
    """

    def __init__(
        self, decoder: Decoder, memory: Memory, width: int, *, backend: str = "reference"
    ) -> None:
        self._decoder, self._memory, self._backend = decoder, memory, backend
        keys = memory.keys_values[0][0]
        users, heads, _, head_width = keys.shape
        positions = len(decoder.embeddings) + 1
        layers = len(decoder.layers)
        self._cache = keys.new_empty(layers, positions, users, width, 2, heads, head_width)
        self._parents = keys.new_empty(positions, users, width, dtype=torch.int32)
        self._position = -1

    def step(self, parents: Tensor | None = None, tokens: Tensor | None = None) -> Tensor:
        """Return the hidden vectors ``[B, M, E]`` of the next position.

        Parameters
        ----------
        parents : Tensor, optional
            ``[B, M]`` integer: which beam of the last step each beam goes on from.
        tokens : Tensor, optional
            ``[B, M]`` integer: with which token.
        """
        self._position += 1
        if parents is None or tokens is None:
            x = self._decoder.start.expand(len(self._memory.lengths), 1, -1)
        else:
            self._parents[self._position, :, : parents.shape[1]].copy_(parents)
            x = self._decoder.embeddings[self._position - 1](tokens)
        for index, layer in enumerate(self._decoder.layers):
            assert isinstance(layer, DecoderLayer)
            x = self._layer(index, layer, x)
        return x

    def _layer(self, index: int, layer: DecoderLayer, x: Tensor) -> Tensor:
        users, beams, _ = x.shape
        qkv = layer.self_qkv(x).view(users, beams, 3, layer.heads, -1)
        attended = beam_self_attention(
            qkv, self._cache[index], self._parents, self._position, backend=self._backend
        )
        x = self._around(attended, x, layer.self_out, layer.norm_self)
        (q,) = split_heads(layer.cross_q(x), 1, layer.heads)
        k, v = self._memory.keys_values[index]
        attended = cross_attention_beams(q, k, v, self._memory.lengths, backend=self._backend)
        x = self._around(merge_heads(attended), x, layer.cross_out, layer.norm_cross)
        into, _, out_of = layer.feed_forward
        assert isinstance(into, nn.Linear)
        assert isinstance(out_of, nn.Linear)
        maps = (into.weight, into.bias), (out_of.weight, out_of.bias)
        norm = layer.norm_feed_forward
        return feed_forward_norm(x, *maps, norm.weight, norm.bias, backend=self._backend)

    def _around(self, x: Tensor, residual: Tensor, out: nn.Linear, norm: nn.LayerNorm) -> Tensor:
        """End an attention block: what goes through it, and what goes around."""
        return linear_norm(x, residual, out.weight, norm.weight, norm.bias, backend=self._backend)
