"""Constrained beam search: a beam is a contiguous range of leaf ranks, so every result is an item.

Shapes: B users, M beams, T levels, K columns of a level.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmgrec_engine.catalog.filters import RankFilter
from mmgrec_engine.catalog.nodes import NodeVectors
from mmgrec_engine.catalog.searchable import Searchable
from mmgrec_engine.models.decoder import Memory
from mmgrec_engine.models.recommender import Recommender
from mmgrec_engine.ops.constrained_topk import Beams, BeamStep, Nodes, constrained_topk


@dataclass(frozen=True)
class SearchResult:
    """Best items per user, best first.

    ``ranks`` ``[B, k]`` leaf ranks (added ones numbered after the base), -1 where fewer than k
    items are allowed. ``scores`` ``[B, k]`` log-probabilities, -inf there. ``certified`` ``[B]``:
    no item outside the result scores higher. Exact search only: ``expanded`` ``[B]`` prefixes
    decoded; ``limit_hit`` ``[B]`` whether it gave up proving.
    """

    ranks: Tensor
    scores: Tensor
    certified: Tensor
    expanded: Tensor | None = None
    limit_hit: Tensor | None = None


@dataclass(frozen=True)
class _State:
    beams: Beams
    prefix: Tensor  # [B, M, t] tokens so far
    best_pruned: Tensor  # [B] highest score of any prefix dropped so far


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
    width = max(beam_width, k)
    users, device = len(memory.lengths), memory.lengths.device
    state = _State(
        Beams.whole(catalog, users, device),
        prefix=torch.zeros(users, 1, 0, dtype=torch.int64, device=device),
        best_pruned=torch.full((users,), float("-inf"), device=device),
    )
    for level in range(catalog.num_levels):
        hidden = model.decoder(state.prefix, memory)[:, :, -1]
        step = constrained_topk(
            catalog,
            level,
            state.beams,
            model.head.logits(level, hidden),
            width,
            nodes=nodes_of(model, nodes, level, hidden, memory),
            filters=filters,
            normalise=model.config.normalise,
            backend=backend,
        )
        state = _advance(state, step)
    return _finish(state, k, catalog)


def nodes_of(
    model: Recommender, nodes: NodeVectors | None, level: int, hidden: Tensor, memory: Memory
) -> Nodes | None:
    """Return a level's node vectors with the queries of hidden vectors ``[B, M, E]``, if any."""
    user = memory.user[:, None].expand(-1, hidden.shape[1], -1)
    query = model.head.node_query(level, hidden, user)
    if query is None or nodes is None:
        return None
    return Nodes(
        query, nodes.vectors[level], nodes.starts[level], nodes.added_sums, nodes.removed_sums
    )


def _advance(state: _State, step: BeamStep) -> _State:
    parents = step.parents.long()[:, :, None].expand(-1, -1, state.prefix.shape[2])
    prefix = torch.cat([state.prefix.gather(1, parents), step.tokens.long()[:, :, None]], dim=2)
    best_pruned = torch.maximum(state.best_pruned, step.best_pruned)
    return _State(step.beams, prefix, best_pruned)


def _finish(state: _State, k: int, catalog: Searchable) -> SearchResult:
    beams = state.beams
    scores = beams.scores[:, :k]
    leaves = beams.leaves(catalog)[:, :k]
    return SearchResult(leaves, scores, certified=scores[:, -1] >= state.best_pruned)
