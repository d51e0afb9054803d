"""One step of constrained beam search: expand every beam, score, filter, keep the best.

Shapes: B users, M beams, K columns of the level, W beams kept, n nodes of the level, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmgrec_engine import _native
from mmgrec_engine.catalog.filters import RankFilter
from mmgrec_engine.catalog.nodes import NodeVectors
from mmgrec_engine.catalog.searchable import Searchable
from mmgrec_engine.catalog.trie import Trie
from mmgrec_engine.errors import BackendError, ConfigError
from mmgrec_engine.native_errors import named_errors
from mmgrec_engine.ops.backends import OPS
from mmgrec_engine.ops.native_call import array


@dataclass(frozen=True)
class Nodes:
    """Node vectors of a level.

    ``query`` ``[B, M, D]``; ``vectors`` ``[n, D]`` float32: mean item vector below every base node;
    ``starts`` ``[n + 1]`` int64: its first leaf. For an edited catalogue, running sums of item
    vectors, so that a range's sum is a difference: ``added_sums`` ``[added + 1, D]`` float64 over
    the added leaves, ``removed_sums`` ``[removed + 1, D]`` over the removed ones.
    """

    query: Tensor
    vectors: Tensor
    starts: Tensor
    added_sums: Tensor | None = None
    removed_sums: Tensor | None = None

    @classmethod
    def of(cls, query: Tensor, tables: NodeVectors, level: int) -> Nodes:
        """Return the node vectors of a level; they share the memory of its tables."""
        sums = (tables.added_sums, tables.removed_sums)
        return cls(
            query,
            torch.from_numpy(tables.vectors[level]),
            torch.from_numpy(tables.starts[level]),
            *(None if x is None else torch.from_numpy(x) for x in sums),
        )


@dataclass(frozen=True)
class BeamStep:
    """Beams after a step, best first, all ``[B, W]``, padded with dead beams.

    A dead beam has score -inf and no leaves.

    ``scores`` float32, ``parents`` and ``tokens`` int32, ``lo`` and ``hi`` int64 ranges of base
    leaves, ``added`` ``[B, W, 2]`` ranges of added leaves. ``best_pruned`` ``[B]``: the highest
    score among allowed children that were not kept, or -inf.
    """

    scores: Tensor
    parents: Tensor
    tokens: Tensor
    lo: Tensor
    hi: Tensor
    added: Tensor
    best_pruned: Tensor

    @property
    def beams(self) -> Beams:
        """The beams of the next step."""
        return Beams(self.lo, self.hi, self.scores, self.added)


@dataclass(frozen=True)
class Beams:
    """Beams before a step, all ``[B, M]``: ranges of base leaves (int64) and scores.

    ``added`` ``[B, M, 2]``: ranges of added leaves; None where the catalogue has none.
    """

    lo: Tensor
    hi: Tensor
    scores: Tensor
    added: Tensor | None = None

    @classmethod
    def whole(cls, catalog: Searchable, users: int, device: torch.device | str = "cpu") -> Beams:
        """Return the beams that a search begins with: everything, score 0."""
        whole = torch.tensor(catalog.native.whole, dtype=torch.int64, device=device)
        return cls.of_ranges(whole.repeat(users, 1, 1), torch.zeros(users, 1, device=device))

    @classmethod
    def of_ranges(cls, ranges: Tensor, scores: Tensor) -> Beams:
        """Return beams of ``ranges`` ``[B, M, 4]``: base from and to, added from and to."""
        return cls(ranges[:, :, 0], ranges[:, :, 1], scores, ranges[:, :, 2:])

    def leaves(self, catalog: Searchable) -> Tensor:
        """Return ``[B, M]``: a leaf of every beam, -1 for a dead one.

        Added leaves are numbered after those of the base. Where a single item has a leaf in both
        segments, the one in the base is gone.
        """
        leaf = torch.where(self.hi > self.lo, self.lo, -1)
        if self.added is None:
            return leaf
        added_lo, added_hi = self.added.unbind(2)
        return torch.where(added_hi > added_lo, catalog.native.whole[1] + added_lo, leaf)

    @property
    def ranges(self) -> Tensor:
        """``[B, M, 4]``: base and added ranges side by side."""
        lo, hi = self.lo[:, :, None], self.hi[:, :, None]
        added = self.added if self.added is not None else torch.cat([torch.zeros_like(lo)] * 2, 2)
        return torch.cat([lo, hi, added], dim=2)


def constrained_topk(
    catalog: Searchable,
    level: int,
    beams: Beams,
    logits: Tensor,
    width: int,
    *,
    nodes: Nodes | None = None,
    filters: RankFilter | None = None,
    normalise: Literal["catalogue", "full"] = "catalogue",
    backend: str = "native",
) -> BeamStep:
    """Expand the beams of every user by one token and keep the best.

    ::

        children = distinct tokens that follow the beam's prefix, each a sub-range of its leaves
        logit    = logits[token]
                   (+ query . mean item vector below the child + log of the number of items there)
        score    = beam score + logit - logsumexp of all children ("catalogue", filters or not) or
                   of the whole level ("full"), and never above the beam's
        keep each user's best `width` children that have an allowed leaf; ties in leaf order

    Parameters
    ----------
    catalog : Trie or Snapshot
        The catalogue. A token leads on while a leaf that was not removed is below it.
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
        Allowed leaves per user.
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
        The backend is unknown, or does not do this.
    """
    if backend not in OPS["constrained_topk"]:
        raise BackendError(
            "constrained_topk has no such backend",
            value=backend,
            allowed=", ".join(OPS["constrained_topk"]),
        )
    if normalise not in ("catalogue", "full"):
        raise ConfigError("normalise is unknown", value=normalise, allowed="catalogue, full")
    if width < 1 or not 0 <= level < catalog.num_levels:
        raise ConfigError(
            "constrained_topk: width or level is out of range",
            value=f"width {width}, level {level}",
            allowed=f"width from 1, level 0 to {catalog.num_levels - 1}",
        )
    if backend == "cuda":
        from mmgrec_engine.ops.constrained_topk_cuda import cuda_step

        return cuda_step(catalog, level, beams, logits, width, nodes, filters, normalise)
    run = _native_step if backend == "native" else constrained_topk_reference
    return run(catalog, level, beams, logits, width, nodes, filters, normalise)


def constrained_topk_reference(
    catalog: Searchable,
    level: int,
    beams: Beams,
    logits: Tensor,
    width: int,
    nodes: Nodes | None,
    filters: RankFilter | None,
    normalise: str,
) -> BeamStep:
    """Do the same in plain loops over the sorted Rec-IDs: test oracle and slowest baseline.

    Raises
    ------
    BackendError
        The catalogue has edits; build a trie of its items for the reference.
    """
    if not isinstance(catalog, Trie):
        raise BackendError(
            "the reference step knows no edited catalogue",
            value=type(catalog).__name__,
            allowed="a Trie",
        )
    codes = catalog.codes()
    rows = []
    for user in range(len(beams.lo)):
        allowed = np.ones(catalog.num_items, bool)
        if filters is not None:
            allowed = filters.mask(user, catalog.num_items)
        candidates = []
        for beam in range(beams.lo.shape[1]):
            lo, hi = int(beams.lo[user, beam]), int(beams.hi[user, beam])
            if lo == hi or beams.scores[user, beam] == float("-inf"):
                continue
            ranges = _child_ranges(codes[lo:hi, level], lo)
            query = (user, beam, nodes) if nodes else None
            log_probs = _child_log_probs(logits[user, beam], ranges, query, normalise)
            for (token, start, end), log_prob in zip(ranges, log_probs.tolist(), strict=True):
                score = float(beams.scores[user, beam]) + min(0.0, log_prob)
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
        items = torch.tensor([end - start for _, start, end in ranges])
        full[tokens] += items.double().log()
    children = full[tokens]
    total = (children if normalise == "catalogue" else full).logsumexp(0)
    # Rounding could make it positive, and certificates rest on a prefix bounding what is below it.
    return (children - total).clamp_max(0)


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
        added=torch.zeros(*shape, 2, dtype=torch.int64),
        best_pruned=torch.full((users,), float("-inf")),
    )


def _native_step(
    catalog: Searchable,
    level: int,
    beams: Beams,
    logits: Tensor,
    width: int,
    nodes: Nodes | None,
    filters: RankFilter | None,
    normalise: str,
) -> BeamStep:
    users = len(beams.lo)
    scores = torch.empty(users, width)
    origin = torch.empty(users, width, 2, dtype=torch.int32)
    ranges = torch.empty(users, width, 4, dtype=torch.int64)
    best_pruned = torch.empty(users)
    with named_errors("constrained_topk"):
        _native.constrained_topk(
            catalog.native,
            level,
            array(beams.ranges),
            array(beams.scores),
            array(logits),
            normalise == "full",
            **node_arrays(nodes),
            filters=filters.prepared(catalog, torch.get_num_threads()) if filters else None,
            out_scores=array(scores),
            out_origin=array(origin),
            out_ranges=array(ranges),
            out_best_pruned=array(best_pruned),
            threads=torch.get_num_threads(),
        )
    step = BeamStep(
        scores,
        origin[:, :, 0],
        origin[:, :, 1],
        ranges[:, :, 0],
        ranges[:, :, 1],
        ranges[:, :, 2:],
        best_pruned,
    )
    return BeamStep(**{name: value.to(logits.device) for name, value in vars(step).items()})


def node_arrays(nodes: Nodes | None) -> dict[str, NDArray[Any] | None]:
    """Return the node tables as the core takes them."""
    names = ("query", "vectors", "starts", "added_sums", "removed_sums")
    found = {name: getattr(nodes, name) if nodes else None for name in names}
    return {
        name if name.endswith("sums") else f"node_{name}": None if x is None else array(x)
        for name, x in found.items()
    }
