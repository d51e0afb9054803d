"""`constrained_topk`: one step of a search, ours beside a plain torch step over a CSR trie."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from mmgrec.profiling.cases import Case
from mmgrec.profiling.trie_catalogues import SKEWS, random_catalogue
from mmgrec.profiling.trie_keys import SIZES
from mmgrec_engine import _native
from mmgrec_engine.catalog.filters import RankFilter
from mmgrec_engine.ops.constrained_topk import Beams, constrained_topk
from mmgrec_engine.ops.work import Work

ITEMS, DENIED, LEVEL = 1_000_000, 10_000, 2
USERS, WIDTHS = (1, 64), (10, 20, 50)
STEADY = 0.03
"""A search that serves steps all the time; a virtual machine's second processor takes longer to
wake than a step lasts."""

BEAM_BYTES = 28
"""Two ranges, a score, a parent and a token."""

TOLERANCE = 1e-4

POPULAR = "popular"
"""The skewed catalogue with beams led to its most crowded prefixes, as a trained model leads them:
far more children per beam than prefixes drawn at random have."""

Normalise = Literal["catalogue", "full"]


def step_cases() -> Iterator[Callable[[], Case]]:
    """Yield the makers of all cases: kind of catalogue, users, beams, denied, normalise."""
    for users in USERS:
        for width in WIDTHS:
            for denied in (0, DENIED):
                for kind in (*SKEWS, POPULAR):
                    yield partial(step_case, kind, users, width, denied, "catalogue")
    for denied in (0, DENIED):
        for kind in SKEWS:
            yield partial(step_case, kind, USERS[0], WIDTHS[0], denied, "full")


def step_case(kind: str, users: int, width: int, denied: int, normalise: Normalise) -> Case:
    """Make the case of one step."""
    step = Step(kind, users, width, denied, normalise)
    return Case(
        bench="constrained_topk",
        shape={
            "N": ITEMS,
            "items": step.num_items,
            "children": step.num_children,
            "catalogue": kind,
            "level": LEVEL,
            "B": users,
            "M": width,
            "denied": denied,
            "normalise": normalise,
        },
        ours={"native": step.native, "op": step.op},
        baselines={"torch_csr": step.torch_csr},
        check=step.check,
        work=step.work(),
        items=users,
        prepare={"native": step.prepare},
        calls=20,
        steady=STEADY,
    )


class Step:
    """A search before its third token, and who can go on with it.

    ::

        the native beams walk to the level by random logits; the op gets their ranges and scores,
        the baseline their nodes and scores: everybody expands the same beams by the same logits

    "native" is what serving runs: beams that stay in the core, one array per call. A step moves
    them on, so every call gets a copy that was made before the clock. "op" takes and gives tensors.
    """

    def __init__(
        self, kind: str, users: int, width: int, denied: int, normalise: Normalise
    ) -> None:
        catalogue = random_catalogue("skewed" if kind == POPULAR else kind, ITEMS)
        self._trie, self._csr = catalogue.trie, catalogue.csr
        self._width, self._normalise = width, normalise
        self._filter: RankFilter | None = None
        self._allowed: Tensor | None = None
        if denied:
            deny = catalogue.deny(users, denied)
            self._filter = RankFilter.from_lists(deny, None, self._trie.num_leaves)
            self._allowed = self._csr.allowed_nodes([torch.from_numpy(d) for d in deny])[LEVEL]
        self._begin = self._walk(users, kind == POPULAR)
        self._scores = torch.from_numpy(self._begin.scores())
        self._nodes = self._csr.nodes_of(LEVEL - 1, torch.from_numpy(self._begin.leaves()))
        starts = self._csr.starts[LEVEL - 1]
        live = self._scores > float("-inf")
        lo = starts[self._nodes]
        self._beams = Beams(lo, torch.where(live, starts[self._nodes + 1], lo), self._scores)
        self.prepare()

    @property
    def num_items(self) -> int:
        """Items of the catalogue, repeated draws left out."""
        return self._trie.num_items

    @property
    def num_children(self) -> int:
        """Children of all users' beams together."""
        live = self._scores > float("-inf")
        return int(self._csr.num_children(LEVEL, self._nodes)[live].sum())

    def _walk(self, users: int, popular: bool) -> _native.Beams:
        rng = np.random.default_rng(2)
        codes = self._trie.codes() if popular else None
        beams = _native.Beams(self._trie.native, users, self._width)
        filters, threads = self._filter, torch.get_num_threads()
        beams.begin(filters.prepared(self._trie, threads) if filters else None)
        for level in range(LEVEL):
            shape = (users, 1 if level == 0 else self._width, SIZES[level])
            logits = rng.standard_normal(shape, np.float32)
            if codes is not None:
                counts = np.bincount(codes[:, level], minlength=SIZES[level])
                logits += np.log(counts + 1, dtype=np.float32)
            beams.step(logits, self._normalise == "full")
        shape = (users, self._width, SIZES[LEVEL])
        self._array = rng.standard_normal(shape, np.float32)
        self._logits = torch.from_numpy(self._array)
        return beams

    def prepare(self) -> None:
        """Copy the beams for the next call."""
        self._fresh = self._begin.copy()

    def native(self) -> _native.Beams:
        """Step the copy of the beams."""
        beams = self._fresh
        beams.step(self._array, self._normalise == "full", threads=torch.get_num_threads())
        return beams

    def op(self) -> Tensor:
        """Return the scores ``[B, W]`` of the functional op."""
        return constrained_topk(
            self._trie,
            LEVEL,
            self._beams,
            self._logits,
            self._width,
            filters=self._filter,
            normalise=self._normalise,
        ).scores

    def torch_csr(self) -> Tensor:
        """Return the scores ``[B, W]`` of the baseline."""
        scores, _ = self._csr.step(
            LEVEL,
            self._nodes,
            self._scores,
            self._logits,
            self._width,
            self._normalise,
            self._allowed,
        )
        return scores

    def check(self) -> None:
        """Raise where the methods' scores differ."""
        self.prepare()
        ours = torch.from_numpy(self.native().scores())
        compare_scores({"native": ours, "op": self.op(), "torch_csr": self.torch_csr()})

    def work(self) -> Work:
        """Count what a step cannot do without.

        ::

            bytes: the children's logits (all of the level's for "full"), 4 each; one byte of token
                per leaf of the beams' ranges; every beam read and written
            operations: per logit of the sum a difference, an exponential (one) and an addition
        """
        live = self._scores > float("-inf")
        leaves = int((self._beams.hi - self._beams.lo).sum())
        terms = (
            self.num_children if self._normalise == "catalogue" else int(live.sum()) * SIZES[LEVEL]
        )
        return Work(flops=3 * terms, bytes=4 * terms + leaves + 2 * BEAM_BYTES * live.numel())


def compare_scores(found: dict[str, Tensor]) -> None:
    """Raise where scores of several methods differ.

    Raises
    ------
    AssertionError
        They do; the message names the methods.
    """
    (first, expected), *others = found.items()
    for name, scores in others:
        if not torch.allclose(scores, expected, atol=TOLERANCE, rtol=TOLERANCE):
            worst = (scores - expected).abs().nan_to_num(float("inf")).max()
            raise AssertionError(f"{name} and {first} differ by up to {float(worst):.3g}")
