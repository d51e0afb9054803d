"""Searching with the model in torch: op by op, on any device and backend.

Shapes: B users, L history length, R rows of prefixes, M prefixes of a row, W children of a row.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mmgrec_engine.catalog.filters import RankFilter
from mmgrec_engine.catalog.nodes import NodeVectors
from mmgrec_engine.catalog.searchable import Searchable
from mmgrec_engine.catalog.state import CatalogState
from mmgrec_engine.decoding.beam_search import beam_search, nodes_of
from mmgrec_engine.decoding.exact import exact_search
from mmgrec_engine.decoding.prefixes import Ints, Prefixes, Rows, Scores
from mmgrec_engine.decoding.searcher import Request, SearchResult
from mmgrec_engine.models.decoder import Memory
from mmgrec_engine.models.recommender import Recommender
from mmgrec_engine.ops.backends import BACKENDS, OPS, choose
from mmgrec_engine.ops.constrained_topk import Beams, constrained_topk


class TorchSearcher:
    """A `Searcher` over a torch model.

    ::

        memory = encode(histories, padded); beam_search or exact_search with it

    Parameters
    ----------
    model : Recommender
        The weights; moved to the device.
    backend : str, optional
        Of every op that has it, by default each op's best.
    device : str
        "cpu" or "cuda": where the model is; trie and filters stay on the CPU.

    Raises
    ------
    BackendError
        The backend is unknown, or cannot run here.
    """

    def __init__(self, model: Recommender, backend: str | None = None, device: str = "cpu") -> None:
        self.device = torch.device(device)
        self.model = model.to(self.device).eval().requires_grad_(False)
        attention = _of_op("relation_attention", backend, device)
        self.model.use_backend(attention)
        # Beams, filters and node tables are in the CPU's memory, wherever the model computes.
        self.step_backend = _of_op("constrained_topk", backend, "cpu")
        self.backend = backend or attention
        self._vectors: tuple[np.ndarray, Tensor] | None = None  # of the last state, and there

    @property
    def threads(self) -> int:
        """See `Searcher`."""
        return torch.get_num_threads()

    @torch.no_grad()
    def search(self, state: CatalogState, request: Request) -> SearchResult:
        """See `Searcher`."""
        memory = self._encode(state, request)
        if request.exact_limit is not None:
            expander = TorchExpander(
                self.model, state.catalog, state.nodes, memory, request.filters, self.step_backend
            )
            return exact_search(
                expander, k=request.k, beam_width=request.width, max_prefixes=request.exact_limit
            )
        return beam_search(
            self.model,
            state.catalog,
            state.nodes,
            memory,
            k=request.k,
            beam_width=request.width,
            filters=request.filters,
            backend=self.step_backend,
        )

    def _encode(self, state: CatalogState, request: Request) -> Memory:
        lengths = np.diff(request.offsets)
        padded = np.zeros((len(lengths), lengths.max()), np.int64)
        padded[np.arange(padded.shape[1]) < lengths[:, None]] = request.slots
        users = request.user_rows
        return self.model.encode(
            self._tensor(padded),
            self._tensor(lengths),
            None if users is None else self._tensor(users),
            self._vectors_of(state),
        )

    def _vectors_of(self, state: CatalogState) -> Tensor:
        known = self._vectors
        if known is None or known[0] is not state.vectors:
            # Those of a file are mapped read-only, of which torch warns: it has no such tensors.
            mapped = not state.vectors.flags.writeable
            values = state.vectors.copy() if mapped else state.vectors
            known = self._vectors = (state.vectors, self._tensor(values))
        return known[1]

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).to(self.device)


@dataclass(frozen=True)
class TorchExpander:
    """An `Expander` over a torch model; ``backend`` of `constrained_topk`."""

    model: Recommender
    catalog: Searchable
    nodes: NodeVectors | None
    memory: Memory
    filters: RankFilter | None = None
    backend: str = "native"

    @property
    def num_users(self) -> int:
        """See `Expander`."""
        return len(self.memory.lengths)

    @property
    def softmax_over_level(self) -> bool:
        """See `Expander`."""
        return self.model.config.normalise == "full"

    @torch.no_grad()
    def expand(
        self, level: int, parents: Prefixes, tokens: Ints, rows: Rows, width: int
    ) -> tuple[Scores, Ints]:
        """See `Expander`."""
        device = self.memory.lengths.device
        prefixes, ranges, scores = (
            torch.from_numpy(rows.padded(x)) for x in (tokens, parents.ranges, parents.score)
        )
        memory = self.memory.of_users(torch.from_numpy(rows.users).to(device))
        hidden = self.model.decoder(prefixes.to(device), memory)[:, :, -1]
        step = constrained_topk(
            self.catalog,
            level,
            Beams.of_ranges(ranges, scores),
            self.model.head.logits(level, hidden),
            width,
            nodes=nodes_of(self.model, self.nodes, level, hidden, memory),
            filters=self.filters.of_users(rows.users) if self.filters is not None else None,
            normalise=self.model.config.normalise,
            backend=self.backend,
        )
        return step.scores.cpu().numpy(), step.beams.ranges.cpu().numpy()


def _of_op(op: str, backend: str | None, device: str) -> str:
    """Choose an op's backend: the one asked for or, where only other ops have it, its best."""
    elsewhere = backend in BACKENDS and backend not in OPS[op]
    return choose(op, None if elsewhere else backend, device=device)
