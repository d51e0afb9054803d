"""Constrained beam search of a torch model: beams are ranges of leaf ranks, so results are items.

Shapes: B users, M beams, T levels, K columns of a level.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mmgrec_engine.catalog.filters import RankFilter
from mmgrec_engine.catalog.nodes import NodeVectors
from mmgrec_engine.catalog.searchable import Searchable
from mmgrec_engine.decoding.beams import start_beams
from mmgrec_engine.decoding.searcher import SearchResult
from mmgrec_engine.models.decoder import Memory
from mmgrec_engine.models.recommender import Recommender
from mmgrec_engine.ops.constrained_topk import Nodes


@torch.no_grad()
def beam_search(
    model: Recommender,
    catalog: Searchable,
    nodes: NodeVectors | None,
    memory: Memory,
    *,
    k: int,
    beam_width: int,
    filters: RankFilter | None = None,
    backend: str = "native",
) -> SearchResult:
    """Find the best k items of every user.

    ::

        one beam: the whole catalogue, score 0
        for every level: hidden = decode(prefix); expand, score, filter and keep the best M beams
        the beams are single items now; certified = k-th score >= the best score ever pruned

    Parameters
    ----------
    model, catalog, nodes
        The recommender, its catalogue and (for a head with node vectors) the node tables.
    memory : Memory
        The users' encoded histories.
    k, beam_width : int
        Results per user; beams per user, raised to k where smaller.
    filters : RankFilter, optional
        Items each user may or may not get; applied inside the search.
    backend : str
        Of `constrained_topk`.
    """
    lengths = memory.lengths
    beams = start_beams(catalog, len(lengths), max(beam_width, k), filters, backend, lengths.device)
    for level in range(catalog.num_levels):
        hidden = model.decoder(beams.prefixes.to(lengths.device), memory)[:, :, -1]
        nodes_here = nodes_of(model, nodes, level, hidden, memory)
        beams.step(model.head.logits(level, hidden), nodes_here, model.config.normalise)
    leaves, scores, best_pruned = beams.result()
    certified = scores[:, k - 1] >= best_pruned
    return SearchResult(*(x.cpu().numpy() for x in (leaves[:, :k], scores[:, :k], certified)))


def nodes_of(
    model: Recommender, nodes: NodeVectors | None, level: int, hidden: Tensor, memory: Memory
) -> Nodes | None:
    """Return a level's node vectors with the queries of hidden vectors ``[B, M, E]``, if any."""
    user = memory.user[:, None].expand(-1, hidden.shape[1], -1)
    query = model.head.node_query(level, hidden, user)
    if query is None or nodes is None:
        return None
    return Nodes.of(query, nodes, level)
