"""A whole request at the level of the trie, and what preparing a filter costs.

The logits of a level are given and the same for every beam, so that two beams that rounding swaps
lead to the same results: what is measured is the search without the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor

from mmgrec.profiling.cases import Case
from mmgrec.profiling.trie_cases import DENIED, ITEMS, USERS, compare_scores
from mmgrec.profiling.trie_catalogues import random_catalogue
from mmgrec.profiling.trie_keys import SIZES
from mmgrec_engine import _native
from mmgrec_engine.catalog.filters import RankFilter
from mmgrec_engine.ops.constrained_topk import Beams, constrained_topk

WIDTH = 50
CALLS = 3


def search_cases() -> Iterator[Callable[[], Case]]:
    """Yield the makers of all cases."""
    for users in USERS:
        yield partial(filter_case, users)
    for denied in (0, DENIED):
        yield partial(search_case, denied)


def search_case(denied: int) -> Case:
    """Search for the best items of one user, denied leaf ranks given; preparing them counts."""
    search = Search(1, denied)
    return Case(
        bench="constrained_search",
        shape={"N": ITEMS, "catalogue": "uniform", "B": 1, "M": WIDTH, "k": WIDTH}
        | {"denied": denied},
        ours={"native": search.native, "op": search.op},
        baselines={"torch_csr": search.torch_csr},
        check=search.check,
        work=None,
        items=1,
        calls=CALLS,
        apart=True,
    )


def filter_case(users: int) -> Case:
    """Turn lists of denied leaf ranks into what a search takes."""
    search = Search(users, DENIED)
    return Case(
        bench="filter_prepare",
        shape={"N": ITEMS, "catalogue": "uniform", "B": users, "denied": DENIED},
        ours={"native": search.prepare_native},
        baselines={"torch_csr": search.prepare_csr},
        check=search.check,
        work=None,
        items=users,
        calls=CALLS,
        apart=True,
    )


class Search:
    """Users, their denied items, and logits ``[B, M, K]`` for every level."""

    def __init__(self, users: int, denied: int) -> None:
        catalogue = random_catalogue("uniform", ITEMS)
        self._trie, self._csr, self._users = catalogue.trie, catalogue.csr, users
        self._deny = catalogue.deny(users, denied) if denied else None
        rng = np.random.default_rng(3)
        rows = [rng.standard_normal((users, 1, size), np.float32) for size in SIZES]
        beams = [1] + [WIDTH] * (len(SIZES) - 1)
        self._arrays = [np.repeat(row, count, 1) for row, count in zip(rows, beams, strict=True)]
        self._logits = [torch.from_numpy(array) for array in self._arrays]

    def prepare_native(self) -> _native.Filters | None:
        """Prepare our filters."""
        filters = self._rank_filter()
        return filters.prepared(self._trie, torch.get_num_threads()) if filters else None

    def prepare_csr(self) -> list[Tensor] | None:
        """Find what a list leaves over, as a mask of the nodes of every level."""
        if self._deny is None:
            return None
        return self._csr.allowed_nodes([torch.from_numpy(ranks) for ranks in self._deny])

    def native(self) -> Tensor:
        """Return the scores ``[B, W]`` of the core's beams, as serving runs them."""
        beams = _native.Beams(self._trie.native, self._users, WIDTH)
        beams.begin(self.prepare_native())
        for logits in self._arrays:
            beams.step(logits, False, threads=torch.get_num_threads())
        return torch.from_numpy(beams.scores())

    def op(self) -> Tensor:
        """Return the scores ``[B, W]`` of the functional op, called once per level."""
        filters = self._rank_filter()
        beams = Beams.whole(self._trie, self._users)
        for level, logits in enumerate(self._logits):
            beams = constrained_topk(self._trie, level, beams, logits, WIDTH, filters=filters).beams
        return beams.scores

    def torch_csr(self) -> Tensor:
        """Return the scores ``[B, W]`` of the baseline."""
        allowed = self.prepare_csr()
        nodes = torch.zeros(self._users, 1, dtype=torch.int64)
        scores = torch.zeros(self._users, 1)
        for level, logits in enumerate(self._logits):
            kept = allowed[level] if allowed else None
            scores, nodes = self._csr.step(level, nodes, scores, logits, WIDTH, allowed=kept)
        return scores

    def check(self) -> None:
        """Raise where the methods find other scores."""
        compare_scores({"native": self.native(), "op": self.op(), "torch_csr": self.torch_csr()})

    def _rank_filter(self) -> RankFilter | None:
        if self._deny is None:
            return None
        return RankFilter.from_lists(self._deny, None, self._trie.num_leaves)
