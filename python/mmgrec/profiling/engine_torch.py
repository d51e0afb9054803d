"""The recommender in plain, batched torch: the strongest baseline that needs no code of ours.

The same weights and the same mathematics, with what a good torch implementation has: keys and
values of earlier tokens are kept, a user's memory is projected once and never copied to its beams,
and the prefix tree is a table of tensors.

Shapes: B users, L history length, M beams, H heads, K head width, E model width, t tokens so far.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mmgrec.profiling.trie_csr import CsrTrie
from mmgrec_engine.models.decoder import DecoderLayer
from mmgrec_engine.models.recommender import Recommender
from mmgrec_engine.ops.cross_attention_beams import cross_attention_beams_reference

Cache = list[tuple[Tensor, Tensor]]
"""Per decoder layer the keys and values ``[B, M, H, t, K]`` of the beams' tokens."""


@torch.no_grad()
def torch_search(
    model: Recommender, trie: CsrTrie, items: Tensor, lengths: Tensor, width: int
) -> tuple[Tensor, Tensor]:
    """Return scores and leaf ranks ``[B, W]`` of the best items of histories ``[B, L]``.

    ::

        memory = encode(items)
        for every level: hidden = decode the last token, earlier keys and values from the cache
                         expand the beams in the tree; the cache follows the parents
    """
    memory = model.encode(items, lengths)
    users = len(items)
    nodes = torch.zeros(users, 1, dtype=torch.int64)
    scores = torch.zeros(users, 1)
    x = model.decoder.start.expand(users, 1, -1)
    cache: Cache = []
    for level, columns in enumerate(model.head.columns):
        hidden, cache = _decode(model, x, cache, memory.keys_values, lengths)
        above = nodes
        scores, nodes = trie.step(level, above, scores, columns(hidden), width)
        if level + 1 < len(model.level_sizes):
            parents = _parents(trie, level, above, nodes)
            cache = [(_follow(k, parents), _follow(v, parents)) for k, v in cache]
            x = model.decoder.embeddings[level](trie.tokens[level][nodes])
    return scores, nodes


def _decode(
    model: Recommender,
    x_BME: Tensor,
    cache: Cache,
    memory: tuple[tuple[Tensor, Tensor], ...],
    lengths: Tensor,
) -> tuple[Tensor, Cache]:
    grown = []
    for i, (layer, keys_values) in enumerate(zip(model.decoder.layers, memory, strict=True)):
        assert isinstance(layer, DecoderLayer)
        x_BME, own = _layer(layer, x_BME, cache[i] if cache else None, keys_values, lengths)
        grown.append(own)
    return x_BME, grown


def _layer(
    layer: DecoderLayer,
    x_BME: Tensor,
    before: tuple[Tensor, Tensor] | None,
    memory: tuple[Tensor, Tensor],
    lengths: Tensor,
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    users, beams, _ = x_BME.shape
    # [B, M, H, 1, K] each.
    q, k, v = layer.self_qkv(x_BME).view(users, beams, 3, layer.heads, 1, -1).unbind(2)
    if before is not None:
        k, v = (torch.cat(pair, 3) for pair in zip(before, (k, v), strict=True))
    attended = F.scaled_dot_product_attention(q, k, v).flatten(2)
    x = layer.norm_self(x_BME + layer.self_out(attended))
    q = layer.cross_q(x).view(users, beams, layer.heads, -1).transpose(1, 2)
    attended = cross_attention_beams_reference(q, *memory, lengths).transpose(1, 2).flatten(2)
    x = layer.norm_cross(x + layer.cross_out(attended))
    return layer.norm_feed_forward(x + layer.feed_forward(x)), (k, v)


def _parents(trie: CsrTrie, level: int, above: Tensor, nodes: Tensor) -> Tensor:
    """Say which beam ``[B, W]`` every node ``[B, W]`` is a child of."""
    if above.shape[1] == 1:
        return torch.zeros_like(nodes)
    parent = torch.searchsorted(trie.first[level], nodes, right=True) - 1
    order = above.sort(1)
    found = torch.searchsorted(order.values, parent).clamp_max(above.shape[1] - 1)
    return order.indices.gather(1, found)


def _follow(cache: Tensor, parents: Tensor) -> Tensor:
    index = parents[:, :, None, None, None].expand(-1, -1, *cache.shape[2:])
    return cache.gather(1, index)
