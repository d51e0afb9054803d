"""Whole requests on a GPU: our searcher, with and without graphs, beside plain torch there."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from mmgrec.profiling.cases import Case
from mmgrec.profiling.device_timing import captured
from mmgrec.profiling.engine_torch import torch_search
from mmgrec.profiling.trie_catalogues import random_catalogue
from mmgrec.profiling.trie_csr import CsrTrie
from mmgrec.profiling.trie_keys import SIZES
from mmgrec_engine.catalog.trie import Trie
from mmgrec_engine.decoding.device_search import DeviceSearcher
from mmgrec_engine.decoding.device_state import DeviceTables
from mmgrec_engine.models.config import RecommenderConfig
from mmgrec_engine.models.recommender import Recommender

ITEMS, LENGTH, WIDTH = 1_000_000, 32, 64
REQUESTS = [(users, beams) for users in (1, 64, 1024) for beams in (10, 50)]
TOLERANCE = {"fp32": 1e-3, "bf16": 0.5}
SAME = 0.98
"""Share of users whose scores must agree within the tolerance."""

Dtype = Literal["fp32", "bf16"]


def device_search_cases(device: str = "cuda") -> Iterator[Callable[[], Case]]:
    """Yield the makers of all cases: users, beams, whether the head has node vectors."""
    for users, beams in REQUESTS:
        yield partial(_case, users, beams, False, device)
    yield partial(_case, 1, 50, True, device)
    yield partial(_case, 64, 50, True, device)


@dataclass(frozen=True, eq=False)
class World:
    """A random model over a random catalogue; `ItemState` of a search."""

    catalog: Trie
    csr: CsrTrie
    vectors: Tensor
    nodes: DeviceTables | None
    model: Recommender


@functools.lru_cache(maxsize=2)
def make_world(node_vectors: bool, device: str) -> World:
    """Make the model of the bench: two layers each way, four heads of 16, 4 levels of 256."""
    catalogue = random_catalogue("uniform", ITEMS)
    torch.manual_seed(0)
    vectors = torch.randn(catalogue.trie.num_items, WIDTH) / WIDTH**0.5
    config = RecommenderConfig(
        width=WIDTH, heads=4, head_width=16, feed_forward=256, node_vectors=node_vectors
    )
    model = Recommender(config, SIZES, vectors).eval()
    nodes = _means(catalogue.csr, vectors.to(device)) if node_vectors else None
    return World(catalogue.trie, catalogue.csr, vectors, nodes, model)


def _means(csr: CsrTrie, vectors: Tensor) -> DeviceTables:
    """Return the node tables, made on the device: on a CPU they take most of a minute."""
    sums = vectors.new_zeros(len(vectors) + 1, WIDTH, dtype=torch.float64)
    torch.cumsum(vectors, 0, dtype=torch.float64, out=sums[1:])
    starts = [level.to(vectors.device) for level in csr.starts]
    means = [
        ((sums[s[1:]] - sums[s[:-1]]) / s.diff()[:, None]).float().contiguous() for s in starts
    ]
    return DeviceTables(tuple(starts), tuple(means), None, None)


class Search:
    """One request of users with full histories, and who answers it."""

    def __init__(self, world: World, users: int, beams: int, device: str) -> None:
        self._world, self._beams = world, beams
        rng = np.random.default_rng(users)
        self._slots = rng.integers(0, len(world.vectors), users * LENGTH)
        self._offsets = np.arange(users + 1) * LENGTH
        # Plain torch: the items' vectors and the request lie on the device already.
        self._model = DeviceSearcher(world.model, device, attention="reference").model
        self._csr = world.csr.to(device)
        self._vectors = world.vectors.to(device)
        self._items = torch.from_numpy(self._slots).view(users, LENGTH).to(device)
        self._lengths = torch.full((users,), LENGTH, device=device)

    def ours(self, searcher: DeviceSearcher) -> Tensor:
        """Return the scores ``[B, W]`` of a searcher, from arrays to arrays on the host."""
        _, scores, _ = searcher.search(
            self._world, self._slots, self._offsets, k=10, beam_width=self._beams
        )
        return torch.from_numpy(scores)

    def torch(self, most: int | None = None) -> Tensor:
        """Return the scores ``[B, k]`` of the same model in torch: cached decoder, CSR trie."""
        scores, _ = torch_search(
            self._model,
            self._csr,
            self._items,
            self._lengths,
            self._beams,
            item_vectors=self._vectors,
            most=most,
        )
        return scores[:, :10]

    def torch_to_host(self) -> Tensor:
        """Do the same and bring the scores to the host, as a request must."""
        return self.torch().cpu()


def _case(users: int, beams: int, node_vectors: bool, device: str) -> Case:
    world = make_world(node_vectors, device)
    search = Search(world, users, beams, device)
    searchers: dict[str, DeviceSearcher] = {
        "graph": DeviceSearcher(world.model, device),
        "graph_bf16": DeviceSearcher(world.model, device, dtype="bf16"),
        "queued": DeviceSearcher(world.model, device, graphs=False),
    }
    ours = {name: partial(search.ours, searcher) for name, searcher in searchers.items()}
    baselines: dict[str, Callable[[], object]] = {}
    if node_vectors:  # torch's step has none
        baselines["queued"] = ours.pop("queued")
    else:
        baselines["torch"] = search.torch_to_host
        if device == "cuda":
            baselines["torch_captured"] = captured(partial(search.torch, max(SIZES)), 1)

    def check() -> None:
        found = {name: search.ours(searcher) for name, searcher in searchers.items()}
        _check_same(found["graph"], found["queued"], TOLERANCE["fp32"])
        _check_same(found["graph"], found["graph_bf16"], TOLERANCE["bf16"])
        if not node_vectors:
            _check_same(found["graph"], search.torch_to_host(), TOLERANCE["fp32"])

    return Case(
        bench="device_search",
        shape={"N": ITEMS, "B": users, "M": beams, "L": LENGTH, "k": 10}
        | {"node_vectors": node_vectors},
        ours={**ours},
        baselines=baselines,
        check=check,
        work=None,
        items=users,
    )


def _check_same(ours: Tensor, theirs: Tensor, tolerance: float) -> None:
    """Raise unless nearly all users' scores agree: rounding may decide which of two beams stays."""
    same = torch.isclose(ours, theirs.cpu(), atol=tolerance, rtol=0).all(1).float().mean()
    if not same >= SAME:
        raise AssertionError(f"only {float(same):.1%} of the users have the same scores")
