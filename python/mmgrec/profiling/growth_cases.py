"""`retrieval_growth`: how the time to find ten items grows with the catalogue.

Ours generates them from the history; the others look for the nearest item vectors of one query that
somebody else has made. So ours includes the model, theirs do not.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import faiss
import numpy as np
import torch
from numpy.typing import NDArray

from mmgrec.profiling.engine_world import K, World, common_share
from mmgrec.profiling.timing import measure, threads

LARGEST_HNSW = 10**6
"""Building the graph takes a minute per million items here; 10^7 would take the afternoon."""

NEIGHBOURS, SEARCHED = 32, (64, 512)
"""Links per item of the HNSW graph; candidates that a search keeps, fewer or more."""

CALLS = 5

WIDTHS = (10, 50)
QUERIES = 200


def growth_rows(world: World, tell: Callable[[str], None]) -> list[dict[str, Any]]:
    """Time one request on one thread with every method; HNSW with its recall of the exact ten."""
    queries = _queries(world)
    one = queries[:1]
    vectors = torch.from_numpy(world.vectors)
    flat = faiss.IndexFlatIP(world.vectors.shape[1])
    flat.add(world.vectors)
    methods: dict[str, Callable[[], object]] = {
        f"native_beam_{width}": world.native(1, width) for width in WIDTHS
    }
    methods["faiss_flat"] = lambda: flat.search(one, K)
    methods["torch_topk"] = lambda: (torch.from_numpy(one) @ vectors.T).topk(K)
    recall: dict[str, float] = {}
    if world.items <= LARGEST_HNSW:
        tell(f"building an HNSW graph of {world.items:,} items")
        graph = _hnsw(world.vectors)
        for kept in SEARCHED:
            name = f"faiss_hnsw_{kept}"
            options = faiss.SearchParametersHNSW(efSearch=kept)  # type: ignore[attr-defined]
            methods[name] = partial(graph.search, one, K, params=options)
            recall[name] = _recall(graph, flat, queries, options)
    tell(f"retrieval_growth N={world.items}")
    with threads(1):
        found = measure(methods, calls=CALLS, apart=True)
    return [
        {
            "bench": "retrieval_growth",
            "case": {"N": world.items, "B": 1, "k": K},
            "backend": name,
            "threads": 1,
            "median_s": timing.median,
            "p99_s": timing.p99,
            "rounds": timing.rounds,
            "items_per_s": 1 / timing.median,
        }
        | ({"recall@10": recall[name]} if name in recall else {})
        for name, timing in found.items()
    ]


def _queries(world: World) -> NDArray[np.float32]:
    """Take means of a few items, as users' vectors are."""
    rng = np.random.default_rng(2)
    chosen = world.vectors[rng.integers(0, world.items, (QUERIES, 4))].mean(1)
    return np.ascontiguousarray(chosen / np.linalg.norm(chosen, axis=1, keepdims=True))


def _hnsw(vectors: NDArray[np.float32]) -> Any:  # noqa: ANN401
    graph = faiss.IndexHNSWFlat(vectors.shape[1], NEIGHBOURS, faiss.METRIC_INNER_PRODUCT)
    graph.add(vectors)
    return graph


def _recall(graph: Any, flat: Any, queries: NDArray[np.float32], options: Any) -> float:  # noqa: ANN401
    found, exact = graph.search(queries, K, params=options)[1], flat.search(queries, K)[1]
    return common_share(found, exact)
