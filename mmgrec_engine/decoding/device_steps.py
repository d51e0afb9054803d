"""The constrained steps of a planned search, on a device and (for tests and by default) on the CPU.

Shapes: B users, M beams (1 before the first step), W beams kept, K columns of a level.
"""

from __future__ import annotations

from typing import Literal, Protocol

import torch
from torch import Tensor

from mmgrec_engine.catalog.filters import RankFilter
from mmgrec_engine.decoding.device_buffers import Buffers
from mmgrec_engine.decoding.device_state import DeviceState
from mmgrec_engine.ops.constrained_topk import Beams, constrained_topk

Normalise = Literal["catalogue", "full"]
NOTHING = float("-inf")


class Steps(Protocol):
    """Beams on their way from the whole catalogue to single items, results in `Buffers`."""

    def step(self, level: int, logits: Tensor, query: Tensor | None) -> tuple[Tensor, Tensor]:
        """Expand by logits ``[B, M, K]``; return parents and tokens ``[B, W]``."""

    def finish(self) -> None:
        """Write leaves and scores."""


class HostSteps:
    """Steps by `constrained_topk` on the CPU."""

    def __init__(
        self,
        state: DeviceState,
        buffers: Buffers,
        filters: RankFilter | None,
        normalise: Normalise,
    ) -> None:
        self._state, self._buffers = state, buffers
        self._filters, self._normalise = filters, normalise
        self._catalog = state.source.catalog
        beams = Beams.whole(self._catalog, len(buffers.lengths))
        self._beams = Beams(beams.lo, beams.hi, _alive(buffers), beams.added)

    def step(self, level: int, logits: Tensor, query: Tensor | None) -> tuple[Tensor, Tensor]:
        """See `Steps`."""
        step = constrained_topk(
            self._catalog,
            level,
            self._beams,
            logits,
            self._buffers.scores.shape[1],
            nodes=self._state.nodes_of(level, query),
            filters=self._filters,
            normalise=self._normalise,
        )
        self._beams = step.beams
        self._buffers.best_pruned[level] = step.best_pruned
        return step.parents, step.tokens

    def finish(self) -> None:
        """See `Steps`."""
        self._buffers.leaves.copy_(self._beams.leaves(self._catalog))
        self._buffers.scores.copy_(self._beams.scores)


class CudaSteps:
    """Steps by the CUDA kernel; queues work and waits for nothing."""

    def __init__(self, state: DeviceState, buffers: Buffers, normalise: Normalise) -> None:
        self._state, self._buffers, self._normalise = state, buffers, normalise
        users, device = len(buffers.lengths), buffers.lengths.device
        self._base, added = state.leaves
        ends = {"lo": 0, "hi": self._base, "added_lo": 0, "added_hi": added}
        self._beams: dict[str, Tensor | None] = {
            name: torch.full((users, 1), end, dtype=torch.int64, device=device)
            for name, end in ends.items()
        }
        self._beams["scores"] = _alive(buffers)
        self._has_added = added > 0
        if not self._has_added:
            self._beams |= {"added_lo": None, "added_hi": None}

    def step(self, level: int, logits: Tensor, query: Tensor | None) -> tuple[Tensor, Tensor]:
        """See `Steps`."""
        from mmgrec_engine.ops.constrained_topk_cuda import queue_step, step_outputs

        buffers = self._buffers
        users, width = buffers.scores.shape
        outputs: dict[str, Tensor | None] = dict(step_outputs(users, width, logits.device))
        if not self._has_added:
            outputs |= {"added_lo": None, "added_hi": None}
        outputs["best_pruned"] = buffers.best_pruned[level]
        outputs["status"] = buffers.status[level]
        queue_step(
            self._state.catalog,
            level,
            self._beams,
            logits,
            outputs,
            nodes=self._state.nodes_of(level, query),
            filters=buffers.filters,
            normalise=self._normalise,
        )
        self._beams = {name: outputs[name] for name in self._beams}
        parents, tokens = outputs["parents"], outputs["tokens"]
        assert parents is not None
        assert tokens is not None
        return parents, tokens

    def finish(self) -> None:
        """See `Steps`; leaves as of `Beams.leaves`."""
        lo, hi, added_lo, added_hi, scores = (self._beams[name] for name in _NAMES)
        assert lo is not None
        assert hi is not None
        assert scores is not None
        leaves = lo.masked_fill(hi <= lo, -1)
        if added_lo is not None and added_hi is not None:
            leaves = torch.where(added_hi > added_lo, added_lo + self._base, leaves)
        self._buffers.leaves.copy_(leaves)
        self._buffers.scores.copy_(scores)


_NAMES = ("lo", "hi", "added_lo", "added_hi", "scores")


def _alive(buffers: Buffers) -> Tensor:
    """Return the scores ``[B, 1]`` that beams begin with: users that are padding have none."""
    scores = torch.zeros(len(buffers.lengths), 1, device=buffers.lengths.device)
    return scores.masked_fill_(buffers.lengths[:, None] <= 0, NOTHING)
