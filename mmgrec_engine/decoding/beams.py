"""The beams of a batch on their way from the whole catalogue to single items.

Two ways of the same interface: `NativeBeams` keeps them in the C++ core, so that a step hands over
nothing but logits; `OpBeams` keeps them in tensors for every other backend of `constrained_topk`.

Shapes: B users, M beams (1 before the first step), W beams kept, t tokens so far, K columns.
"""

from __future__ import annotations

from typing import Literal, Protocol

import torch
from torch import Tensor

from mmgrec_engine import _native
from mmgrec_engine.catalog.filters import RankFilter
from mmgrec_engine.catalog.searchable import Searchable
from mmgrec_engine.native_errors import named_errors
from mmgrec_engine.ops.constrained_topk import Beams, Nodes, constrained_topk, node_arrays
from mmgrec_engine.ops.native_call import array

Normalise = Literal["catalogue", "full"]


class SearchBeams(Protocol):
    """What a beam search carries from level to level."""

    @property
    def prefixes(self) -> Tensor:
        """``[B, M, t]`` int64 tokens so far."""

    def step(self, logits: Tensor, nodes: Nodes | None, normalise: Normalise) -> None:
        """Expand by one token with logits ``[B, M, K]``, as `constrained_topk` says."""

    def result(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return leaves ``[B, W]`` (-1: none), scores ``[B, W]``, best dropped score ``[B]``."""


def start_beams(
    catalog: Searchable,
    users: int,
    width: int,
    filters: RankFilter | None,
    backend: str,
    device: torch.device,
) -> SearchBeams:
    """Return the beams that a search of this backend begins with: everything, score 0."""
    if backend == "native":
        return NativeBeams(catalog, users, width, filters)
    return OpBeams(catalog, users, width, filters, backend, device)


class NativeBeams:
    """Beams in the C++ core (csrc/search/beams.h)."""

    def __init__(
        self, catalog: Searchable, users: int, width: int, filters: RankFilter | None
    ) -> None:
        self._native = _native.Beams(catalog.native, users, width)
        prepared = None
        if filters is not None:
            prepared = filters.prepared(catalog, torch.get_num_threads())
        self._native.begin(prepared)

    @property
    def prefixes(self) -> Tensor:
        """See `SearchBeams`."""
        return torch.from_numpy(self._native.prefixes())

    def step(self, logits: Tensor, nodes: Nodes | None, normalise: Normalise) -> None:
        """See `SearchBeams`."""
        with named_errors("constrained_topk"):
            self._native.step(
                array(logits),
                normalise == "full",
                **node_arrays(nodes),
                threads=torch.get_num_threads(),
            )

    def result(self) -> tuple[Tensor, Tensor, Tensor]:
        """See `SearchBeams`."""
        native = self._native
        leaves, scores, pruned = native.leaves(), native.scores(), native.best_pruned()
        return torch.from_numpy(leaves), torch.from_numpy(scores), torch.from_numpy(pruned)


class OpBeams:
    """Beams in tensors on any device."""

    def __init__(
        self,
        catalog: Searchable,
        users: int,
        width: int,
        filters: RankFilter | None,
        backend: str,
        device: torch.device,
    ) -> None:
        self._catalog, self._width, self._filters = catalog, width, filters
        self._backend = backend
        self._beams = Beams.whole(catalog, users, device)
        self.prefixes = torch.zeros(users, 1, 0, dtype=torch.int64, device=device)
        self._best_pruned = torch.full((users,), float("-inf"), device=device)

    def step(self, logits: Tensor, nodes: Nodes | None, normalise: Normalise) -> None:
        """See `SearchBeams`."""
        level = self.prefixes.shape[2]
        step = constrained_topk(
            self._catalog,
            level,
            self._beams,
            logits,
            self._width,
            nodes=nodes,
            filters=self._filters,
            normalise=normalise,
            backend=self._backend,
        )
        parents = step.parents.long()[:, :, None].expand(-1, -1, level)
        tokens = step.tokens.long()[:, :, None]
        self.prefixes = torch.cat([self.prefixes.gather(1, parents), tokens], dim=2)
        self._best_pruned = torch.maximum(self._best_pruned, step.best_pruned)
        self._beams = step.beams

    def result(self) -> tuple[Tensor, Tensor, Tensor]:
        """See `SearchBeams`."""
        return self._beams.leaves(self._catalog), self._beams.scores, self._best_pruned
