"""Searching with the recommender in C++ (csrc/recommender): no torch, one call per request.

Shapes: P prefixes, R rows of prefixes, M prefixes of a row, W children of a row, T levels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmgrec_engine import _native
from mmgrec_engine.catalog.filters import RankFilter
from mmgrec_engine.catalog.nodes import NodeVectors
from mmgrec_engine.catalog.searchable import Searchable
from mmgrec_engine.catalog.state import CatalogState
from mmgrec_engine.decoding.exact import exact_search
from mmgrec_engine.decoding.prefixes import Ints, Prefixes, Rows, Scores
from mmgrec_engine.decoding.searcher import Request, SearchResult
from mmgrec_engine.models.config import RecommenderConfig
from mmgrec_engine.native_errors import named_errors


class NativeSearcher:
    """A `Searcher` over packed weights.

    ::

        beams: encode, T decoder steps, trie, filters and certificates in one call, without the GIL
        exact: encode once, then `exact_search`, whose rounds decode and step in C++

    Parameters
    ----------
    config : RecommenderConfig
        Shape.
    level_sizes : sequence of int
        K_t per token level.
    weights : mapping
        Arrays of `models.recommender.Recommender.state_dict`, float32; "item_vectors" ``[N, D]``.
    precision : str
        What the weights are packed as: "fp32", "bf16" or "int8".
    threads : int
        Over which the users of a request are spread.

    Raises
    ------
    ConfigError
        A weight is missing or has another shape; the precision is unknown or not for this
        processor.
    """

    backend = "native"

    def __init__(
        self,
        config: RecommenderConfig,
        level_sizes: Sequence[int],
        weights: Mapping[str, NDArray[np.float32]],
        *,
        precision: str = "fp32",
        threads: int,
    ) -> None:
        self.threads = threads
        self.softmax_over_level = config.normalise == "full"
        self._graph_users = config.user_vector == "graph"
        shape = {
            "width": config.width,
            "item_width": weights["item_vectors"].shape[1],
            "heads": config.heads,
            "head_width": config.head_width,
            "feed_forward": config.feed_forward,
            "encoder_layers": config.encoder_layers,
            "decoder_layers": config.decoder_layers,
            "level_sizes": list(level_sizes),
            "node_vectors": config.node_vectors,
            "softmax_over_level": self.softmax_over_level,
            "graph_users": self._graph_users,
            "history_decay": _history_decay(weights),
        }
        with named_errors("the native recommender"):
            self.recommender = _native.Recommender(
                shape, dict(weights), weights["item_vectors"], precision
            )

    def search(self, state: CatalogState, request: Request) -> SearchResult:
        """See `Searcher`."""
        if request.exact_limit is not None:
            return exact_search(
                self.expander(state, request),
                k=request.k,
                beam_width=request.width,
                max_prefixes=request.exact_limit,
            )
        with named_errors("the native recommender"):
            return SearchResult(*self.recommender.recommend(*self._beam_search(state, request)))

    def expander(self, state: CatalogState, request: Request) -> NativeExpander:
        """Encode the users of a request, for searches that step through prefixes themselves."""
        with named_errors("the native recommender"):
            memory = self.recommender.encode(*self._histories(state, request), self.threads)
        return NativeExpander(self, state.catalog, state.nodes, memory, request.filters)

    def stages(
        self, state: CatalogState, request: Request
    ) -> list[tuple[str, float, float, float]]:
        """Run a beam search on one thread with a clock between its stages.

        Returns
        -------
        list
            Name, seconds, floating-point operations and bytes of every stage, in order; of all
            users together.
        """
        with named_errors("the native recommender"):
            return self.recommender.stages(*self._beam_search(state, request))

    def _histories(
        self, state: CatalogState, request: Request
    ) -> tuple[NDArray[np.float32], Ints, Ints, Ints | None]:
        users = request.user_rows if self._graph_users else None
        return state.vectors, request.slots, request.offsets, users

    def _beam_search(self, state: CatalogState, request: Request) -> tuple[Any, ...]:
        filters = request.filters
        return (
            state.catalog.native,
            *self._histories(state, request),
            _tables(state.nodes),
            filters.prepared(state.catalog, self.threads) if filters is not None else None,
            request.k,
            request.width,
            self.threads,
        )


@dataclass(frozen=True)
class NativeExpander:
    """An `Expander` over packed weights; ``memory``: what the recommender's ``encode`` returned."""

    searcher: NativeSearcher
    catalog: Searchable
    nodes: NodeVectors | None
    memory: _native.Memory
    filters: RankFilter | None = None

    @property
    def num_users(self) -> int:
        """See `Expander`."""
        return int(self.memory.users)

    @property
    def softmax_over_level(self) -> bool:
        """See `Expander`."""
        return self.searcher.softmax_over_level

    def expand(
        self, level: int, parents: Prefixes, tokens: Ints, rows: Rows, width: int
    ) -> tuple[Scores, Ints]:
        """See `Expander`."""
        threads, count = self.searcher.threads, len(rows.users)
        with named_errors("the native recommender"):
            logits, query = self.searcher.recommender.decode(
                self.memory, parents.user, tokens, threads
            )
        filters = None
        if self.filters is not None:
            filters = self.filters.of_users(rows.users).prepared(self.catalog, threads)
        scores = np.empty((count, width), np.float32)
        ranges = np.empty((count, width, 4), np.int64)
        with named_errors("constrained_topk"):
            _native.constrained_topk(
                self.catalog.native,
                level,
                rows.padded(parents.ranges),
                rows.padded(parents.score),
                rows.padded(logits),
                self.softmax_over_level,
                **self._nodes(level, query, rows),
                filters=filters,
                out_scores=scores,
                out_origin=np.empty((count, width, 2), np.int32),
                out_ranges=ranges,
                out_best_pruned=np.empty(count, np.float32),
                threads=threads,
            )
        return scores, ranges

    def _nodes(
        self, level: int, query: NDArray[np.float32] | None, rows: Rows
    ) -> dict[str, NDArray[Any] | None]:
        nodes = self.nodes
        if query is None or nodes is None:
            names = ("node_query", "node_vectors", "node_starts", "added_sums", "removed_sums")
            return dict.fromkeys(names)
        return {
            "node_query": rows.padded(query),
            "node_vectors": nodes.vectors[level],
            "node_starts": nodes.starts[level],
            "added_sums": nodes.added_sums,
            "removed_sums": nodes.removed_sums,
        }


def _history_decay(weights: Mapping[str, NDArray[np.float32]]) -> float:
    """Return the decay; weights of model version 2 have none."""
    return float(weights["history_decay"][0]) if "history_decay" in weights else 1.0


def _tables(nodes: NodeVectors | None) -> tuple[Any, ...] | None:
    if nodes is None:
        return None
    return list(nodes.vectors), list(nodes.starts), nodes.added_sums, nodes.removed_sums
