"""One step of constrained beam search: expand every beam, score, filter, keep the best.

Shapes: B users, M beams, K columns of the level, W beams kept, n nodes of the level, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from mmgrec_engine import _native
from mmgrec_engine.catalog.filters import RankFilter
from mmgrec_engine.catalog.trie import Trie
from mmgrec_engine.errors import BackendError, ConfigError
from mmgrec_engine.ops.backends import OPS
from mmgrec_engine.ops.native_call import array, named_errors

if TYPE_CHECKING:
    from mmgrec_engine.ops.constrained_topk_cuda import DeviceFilters


@dataclass(frozen=True)
class Nodes:
    """Node vectors of a level.

    ``query`` ``[B, M, D]``; ``vectors`` ``[n, D]`` float32; ``starts`` ``[n + 1]`` int64: first
    leaf of every node.
    """

    query: Tensor
    vectors: Tensor
    starts: Tensor


@dataclass(frozen=True)
class BeamStep:
    """Beams after a step, best first, all ``[B, W]``, padded with dead beams.

    A dead beam has score -inf and lo == hi.

    ``scores`` float32, ``parents`` and ``tokens`` int32, ``lo`` and ``hi`` int64 leaf ranges.
    ``best_pruned`` ``[B]``: the highest score among allowed children that were not kept, or -inf.
    """

    scores: Tensor
    parents: Tensor
    tokens: Tensor
    lo: Tensor
    hi: Tensor
    best_pruned: Tensor


@dataclass(frozen=True)
class Beams:
    """Beams before a step, all ``[B, M]``: leaf ranges (int64; lo == hi is dead) and scores."""

    lo: Tensor
    hi: Tensor
    scores: Tensor


def constrained_topk(
    trie: Trie,
    level: int,
    beams: Beams,
    logits: Tensor,
    width: int,
    *,
    nodes: Nodes | None = None,
    filters: RankFilter | DeviceFilters | None = None,
    normalise: Literal["catalogue", "full"] = "catalogue",
    backend: str = "native",
) -> BeamStep:
    """Expand the beams of every user by one token and keep the best.

    ::

        children = distinct tokens that follow the beam's prefix, each a sub-range of its leaves
        logit    = logits[token] (+ query . mean item vector below the child)
        score    = beam score + logit - logsumexp of all children ("catalogue", filters or not) or
                   of the whole level ("full")
        keep each user's best `width` children that have an allowed leaf; ties in leaf order

    Parameters
    ----------
    trie : Trie
        The catalogue.
    level : int
        Which token comes next, from 0.
    beams : Beams
        Prefixes of ``level`` tokens.
    logits : Tensor
        ``[B, M, K]`` float32.
    width : int
        W.
    nodes : Nodes, optional
        For a head with node vectors.
    filters : RankFilter, optional
        Allowed leaves per user; for "cuda" a `DeviceFilters`.
    normalise : {"catalogue", "full"}
        See above.
    backend : {"native", "cuda", "reference"}
        As chosen by `mmgrec_engine.ops.backends.choose`. "cuda" takes tensors on the device and
        cannot raise for what they hold: a range outside the catalogue or NaN makes dead beams.

    Raises
    ------
    ConfigError
        Shapes do not fit together, a range lies outside the catalogue, NaN.
    BackendError
        The backend is unknown, or takes no filters of this kind.
    """
    if backend not in OPS["constrained_topk"]:
        raise BackendError(
            "constrained_topk has no such backend",
            value=backend,
            allowed=", ".join(OPS["constrained_topk"]),
        )
    if normalise not in ("catalogue", "full"):
        raise ConfigError("normalise is unknown", value=normalise, allowed="catalogue, full")
    if width < 1 or not 0 <= level < trie.num_levels:
        raise ConfigError(
            "constrained_topk: width or level is out of range",
            value=f"width {width}, level {level}",
            allowed=f"width from 1, level 0 to {trie.num_levels - 1}",
        )
    if backend == "cuda":
        from mmgrec_engine.ops.constrained_topk_cuda import cuda_step

        return cuda_step(trie, level, beams, logits, width, nodes, filters, normalise)
    if filters is not None and not isinstance(filters, RankFilter):
        raise BackendError(
            f"constrained_topk: {backend} takes no such filters",
            value=type(filters).__name__,
            allowed="RankFilter",
        )
    run = _native_step if backend == "native" else constrained_topk_reference
    return run(trie, level, beams, logits, width, nodes, filters, normalise)


def constrained_topk_reference(
    trie: Trie,
    level: int,
    beams: Beams,
    logits: Tensor,
    width: int,
    nodes: Nodes | None,
    filters: RankFilter | None,
    normalise: str,
) -> BeamStep:
    """Do the same in plain loops over the sorted Rec-IDs: test oracle and slowest baseline."""
    codes = trie.codes()
    rows = []
    for user in range(len(beams.lo)):
        allowed = np.ones(trie.num_items, bool)
        if filters is not None:
            allowed = filters.mask(user, trie.num_items)
        candidates = []
        for beam in range(beams.lo.shape[1]):
            lo, hi = int(beams.lo[user, beam]), int(beams.hi[user, beam])
            if lo == hi or beams.scores[user, beam] == float("-inf"):
                continue
            ranges = _child_ranges(codes[lo:hi, level], lo)
            query = (user, beam, nodes) if nodes else None
            log_probs = _child_log_probs(logits[user, beam], ranges, query, normalise)
            for (token, start, end), log_prob in zip(ranges, log_probs.tolist(), strict=True):
                score = float(beams.scores[user, beam]) + log_prob
                if allowed[start:end].any() and score > float("-inf"):
                    candidates.append((-score, start, end, beam, token))
        rows.append(sorted(candidates))
    return _pack(rows, width)


def _child_ranges(tokens: np.ndarray, lo: int) -> list[tuple[int, int, int]]:
    values, starts = np.unique(tokens, return_index=True)
    ends = [*starts[1:], len(tokens)]
    return [
        (int(v), lo + int(s), lo + int(e)) for v, s, e in zip(values, starts, ends, strict=True)
    ]


def _child_log_probs(
    logits: Tensor,
    ranges: list[tuple[int, int, int]],
    query: tuple[int, int, Nodes] | None,
    normalise: str,
) -> Tensor:
    full = logits.double().clone()
    tokens = torch.tensor([token for token, _, _ in ranges])
    if query is not None:
        user, beam, nodes = query
        starts = torch.tensor([start for _, start, _ in ranges])
        rows = nodes.vectors[torch.searchsorted(nodes.starts, starts)].double()
        full[tokens] += rows @ nodes.query[user, beam].double()
    children = full[tokens]
    return children - (children if normalise == "catalogue" else full).logsumexp(0)


def _pack(rows: list[list[tuple[float, int, int, int, int]]], width: int) -> BeamStep:
    step = _empty_step(len(rows), width)
    for user, candidates in enumerate(rows):
        for i, (negative, lo, hi, beam, token) in enumerate(candidates[:width]):
            step.scores[user, i] = -negative
            step.parents[user, i], step.tokens[user, i] = beam, token
            step.lo[user, i], step.hi[user, i] = lo, hi
        if len(candidates) > width:
            step.best_pruned[user] = -candidates[width][0]
    return step


def _empty_step(users: int, width: int) -> BeamStep:
    shape = (users, width)
    return BeamStep(
        scores=torch.full(shape, float("-inf")),
        parents=torch.zeros(shape, dtype=torch.int32),
        tokens=torch.zeros(shape, dtype=torch.int32),
        lo=torch.zeros(shape, dtype=torch.int64),
        hi=torch.zeros(shape, dtype=torch.int64),
        best_pruned=torch.full((users,), float("-inf")),
    )


def _native_step(
    trie: Trie,
    level: int,
    beams: Beams,
    logits: Tensor,
    width: int,
    nodes: Nodes | None,
    filters: RankFilter | None,
    normalise: str,
) -> BeamStep:
    step = _empty_step(len(beams.lo), width)
    allow = filters.allow if filters else None
    with named_errors("constrained_topk"):
        _native.constrained_topk(
            trie.native,
            level,
            array(beams.lo),
            array(beams.hi),
            array(beams.scores),
            array(logits),
            normalise == "full",
            node_query=array(nodes.query) if nodes else None,
            node_vectors=array(nodes.vectors) if nodes else None,
            node_starts=array(nodes.starts) if nodes else None,
            deny_offsets=filters.deny.offsets if filters else None,
            deny_ranks=filters.deny.ranks if filters else None,
            allow_offsets=allow.offsets if allow else None,
            allow_ranks=allow.ranks if allow else None,
            allow_all=filters.allow_all if filters and allow else None,
            out_scores=array(step.scores),
            out_parents=array(step.parents),
            out_tokens=array(step.tokens),
            out_lo=array(step.lo),
            out_hi=array(step.hi),
            out_best_pruned=array(step.best_pruned),
        )
    return BeamStep(**{name: value.to(logits.device) for name, value in vars(step).items()})
