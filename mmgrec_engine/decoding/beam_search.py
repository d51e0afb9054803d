"""Constrained beam search: a beam is a contiguous range of leaf ranks, so every result is an item.

Shapes: B users, M beams, T levels, K columns of a level.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmgrec_engine.catalog.filters import RankFilter
from mmgrec_engine.catalog.nodes import NodeVectors
from mmgrec_engine.catalog.trie import Trie
from mmgrec_engine.models.decoder import Memory
from mmgrec_engine.models.recommender import Recommender
from mmgrec_engine.ops.constrained_topk import Beams, BeamStep, Nodes, constrained_topk


@dataclass(frozen=True)
class SearchResult:
    """Best items per user, best first.

    ``ranks`` ``[B, k]`` leaf ranks, -1 where fewer than k items are allowed. ``scores`` ``[B, k]``
    log-probabilities, -inf there. ``certified`` ``[B]``: no item outside the result scores higher.
    Exact search only: ``expanded`` ``[B]`` prefixes decoded; ``limit_hit`` ``[B]`` whether it gave
    up proving.
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
    trie: Trie,
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
    model, trie, nodes
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
    state = _start(len(memory.lengths), trie.num_items, memory.lengths.device)
    for level in range(trie.num_levels):
        hidden = model.decoder(state.prefix, memory)[:, :, -1]
        step = constrained_topk(
            trie,
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
    return _finish(state, k)


def _start(users: int, num_items: int, device: torch.device) -> _State:
    whole = torch.full((users, 1), num_items, dtype=torch.int64, device=device)
    beams = Beams(torch.zeros_like(whole), whole, torch.zeros(users, 1, device=device))
    prefix = torch.zeros(users, 1, 0, dtype=torch.int64, device=device)
    return _State(beams, prefix, torch.full((users,), float("-inf"), device=device))


def nodes_of(
    model: Recommender, nodes: NodeVectors | None, level: int, hidden: Tensor, memory: Memory
) -> Nodes | None:
    """Return a level's node vectors with the queries of hidden vectors ``[B, M, E]``, if any."""
    user = memory.user[:, None].expand(-1, hidden.shape[1], -1)
    query = model.head.node_query(level, hidden, user)
    if query is None or nodes is None:
        return None
    return Nodes(query, nodes.vectors[level], nodes.starts[level])


def _advance(state: _State, step: BeamStep) -> _State:
    parents = step.parents.long()[:, :, None].expand(-1, -1, state.prefix.shape[2])
    prefix = torch.cat([state.prefix.gather(1, parents), step.tokens.long()[:, :, None]], dim=2)
    best_pruned = torch.maximum(state.best_pruned, step.best_pruned)
    return _State(Beams(step.lo, step.hi, step.scores), prefix, best_pruned)


def _finish(state: _State, k: int) -> SearchResult:
    beams = state.beams
    ranks = torch.where(beams.hi > beams.lo, beams.lo, -1)[:, :k]
    scores = beams.scores[:, :k]
    return SearchResult(ranks, scores, certified=scores[:, -1] >= state.best_pruned)
