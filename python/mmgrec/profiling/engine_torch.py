"""The recommender in plain, batched torch: the strongest baseline that needs no code of ours.

The same weights and the same mathematics, with what a good torch implementation has: keys and
values of earlier tokens are kept, a user's memory is projected once and never copied to its beams,
and the prefix tree is a table of tensors.

Shapes: B users, L history length, W beams, S stored vectors, D item-vector width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mmgrec.profiling.trie_csr import CsrTrie
from mmgrec_engine.models.cached_decoder import CachedDecoder
from mmgrec_engine.models.recommender import Recommender


@torch.no_grad()
def torch_search(
    model: Recommender,
    trie: CsrTrie,
    items: Tensor,
    lengths: Tensor,
    width: int,
    *,
    item_vectors: Tensor | None = None,
    most: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Return scores and leaf ranks ``[B, W]`` of the best items of histories ``[B, L]``.

    ::

        memory = encode(items)
        for every level: hidden = decode the last token, earlier keys and values from the cache
                         expand the beams in the tree; the cache follows the parents

    ``item_vectors`` ``[S, D]``: in place of the model's own. ``most``: as of
    `CsrTrie.step_with_origin`.
    """
    memory = model.encode(items, lengths, None, item_vectors)
    decoder = CachedDecoder(model.decoder, memory, width)
    nodes = torch.zeros(len(items), 1, dtype=torch.int64, device=items.device)
    scores = torch.zeros(len(items), 1, device=items.device)
    hidden = decoder.step()
    levels = len(model.level_sizes)
    for level in range(levels):
        logits = model.head.logits(level, hidden)
        scores, nodes, parents, tokens = trie.step_with_origin(
            level, nodes, scores, logits, width, most
        )
        if level + 1 < levels:
            hidden = decoder.step(parents, tokens)
    return scores, nodes
