"""Searching an edited catalogue gives what a trie built afresh from its items gives."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgrec_engine.catalog.filters import NamedSet, RankFilter
from mmgrec_engine.catalog.leaf_sets import LeafSet
from mmgrec_engine.catalog.live import LiveCatalog
from mmgrec_engine.catalog.nodes import NodeVectors
from mmgrec_engine.catalog.snapshot import Snapshot
from mmgrec_engine.catalog.trie import Trie
from mmgrec_engine.decoding.beams import NativeBeams
from mmgrec_engine.ops.constrained_topk import Beams, Nodes, constrained_topk

TOLERANCE = 1e-4
WIDTH = 6
"""Of item vectors."""

Normalise = Literal["catalogue", "full"]


@dataclass(frozen=True)
class Edited:
    """A snapshot with edits pending, and a trie of the same items; vectors ``[ids, D]``."""

    snapshot: Snapshot
    trie: Trie
    vectors: np.ndarray

    @property
    def ids(self) -> np.ndarray:
        """Item ids in leaf order of the trie."""
        return self.snapshot.ids()

    def filters(self, rng: np.random.Generator, users: int) -> tuple[RankFilter, RankFilter]:
        """The same filters for the snapshot and for the trie; gone leaves are named as well."""
        n, leaves = len(self.ids), self.snapshot.num_leaves
        base = int(self.snapshot.native.whole[1])
        order = self.snapshot.leaves()
        gone = np.setdiff1d(np.arange(leaves), order)
        deny = [rng.integers(0, n, rng.integers(0, n + 1)) for _ in range(users)]
        allow = [None if u % 2 else rng.integers(0, n, n) for u in range(users)]
        deny_all = rng.integers(0, n, n // 8)
        named = np.flatnonzero(rng.random(n) < 0.7)
        in_set = np.concatenate([order[named], gone])
        sets = (
            NamedSet(
                LeafSet.of(in_set[in_set < base], base),
                LeafSet.of(in_set[in_set >= base] - base, leaves - base),
            ),
            NamedSet(LeafSet.of(named, n), LeafSet.all(0)),
        )
        chosen = np.array([u % 3 - 1 for u in range(users)], np.int32).clip(max=0)
        edited = RankFilter.from_lists(
            [np.concatenate([order[d], gone[:3]]) for d in deny],
            [None if a is None else np.concatenate([order[a], gone]) for a in allow],
            leaves,
            deny_all=np.concatenate([gone[-2:], order[deny_all]]),
        )
        built = RankFilter.from_lists(deny, allow, n, deny_all=deny_all)
        return (
            replace(edited, sets=sets[:1], set_of_user=chosen),
            replace(built, sets=sets[1:], set_of_user=chosen),
        )

    def nodes(self, level: int, query: torch.Tensor) -> tuple[Nodes, Nodes]:
        """Node tables of the snapshot, with sums of what changed, and of the trie."""
        native = self.snapshot.native
        base = int(native.whole[1])
        base_ranks = np.arange(base)
        of_base = NodeVectors.of(
            self.snapshot.codes(base_ranks), self.vectors[self.snapshot.ids(base_ranks)]
        )
        of_trie = NodeVectors.of(self.trie.codes(), self.vectors[self.ids])
        added = self.snapshot.ids(np.arange(base, self.snapshot.num_leaves))
        removed = self.snapshot.ids(native.removed.astype(np.int64))
        return (
            Nodes(
                query,
                of_base.vectors[level],
                of_base.starts[level],
                running_sums(self.vectors[added]),
                running_sums(self.vectors[removed]),
            ),
            Nodes(query, of_trie.vectors[level], of_trie.starts[level]),
        )


def running_sums(vectors: np.ndarray) -> torch.Tensor:
    zero = np.zeros((1, WIDTH))
    return torch.from_numpy(np.concatenate([zero, np.cumsum(vectors, axis=0, dtype=np.float64)]))


@contextmanager
def edited(sizes: list[int], items: int, edits: int, seed: int) -> Iterator[Edited]:
    rng = np.random.default_rng(seed)
    every = np.unique(rng.integers(0, sizes, (items + edits, len(sizes)), dtype=np.int32), axis=0)
    every = every[rng.permutation(len(every))]
    start, later = every[:items], every[items:]
    with TemporaryDirectory() as folder:
        live = LiveCatalog.create(Path(folder) / "catalog", start, sizes)
        with live:
            next_id = len(start)
            for row in later:
                live.insert(row[None], [next_id])
                next_id += 1
                codes = live.snapshot().codes()
                if rng.random() < 0.7 and len(codes) > 1:
                    gone = codes[rng.integers(len(codes))][None]
                    ident = live.delete(gone)
                    if rng.random() < 0.4:  # comes back under its Rec-ID
                        live.insert(gone, ident if rng.random() < 0.5 else [next_id])
                        next_id += 1
            snapshot = live.snapshot()
            trie, _ = Trie.build(snapshot.codes(), sizes)
            vectors = rng.normal(size=(next_id + 1, WIDTH)).astype(np.float32)
            yield Edited(snapshot, trie, vectors)


def check_search(
    made: Edited, seed: int, width: int, normalise: Normalise, filtered: bool, with_nodes: bool
) -> None:
    """Walk all levels on both; the functional op on the trie, and op and native beams on both."""
    torch.manual_seed(seed)
    users = 4
    there, built = made.filters(np.random.default_rng(seed), users) if filtered else (None, None)
    beams, expected_beams = Beams.whole(made.snapshot, users), Beams.whole(made.trie, users)
    native = NativeBeams(made.snapshot, users, width, there)
    for level in range(made.trie.num_levels):
        shape = expected_beams.lo.shape
        logits = torch.randn(*shape, made.trie.level_sizes[level])
        nodes: tuple[Nodes | None, Nodes | None] = (None, None)
        if with_nodes:
            nodes = made.nodes(level, torch.randn(*shape, WIDTH))
        step = constrained_topk(
            made.snapshot, level, beams, logits, width,
            nodes=nodes[0], filters=there, normalise=normalise,
        )  # fmt: skip
        expected = constrained_topk(
            made.trie, level, expected_beams, logits, width,
            nodes=nodes[1], filters=built, normalise=normalise, backend="reference",
        )  # fmt: skip
        native.step(logits, nodes[0], normalise)
        torch.testing.assert_close(step.scores, expected.scores, atol=TOLERANCE, rtol=1e-5)
        torch.testing.assert_close(
            step.best_pruned, expected.best_pruned, atol=TOLERANCE, rtol=1e-5
        )
        assert torch.equal(step.tokens, expected.tokens)
        assert torch.equal(step.parents, expected.parents)
        beams, expected_beams = step.beams, expected.beams
    leaves = beams.leaves(made.snapshot)
    assert torch.equal(native.result()[0], leaves)
    ranks = expected_beams.leaves(made.trie)
    assert torch.equal(leaves >= 0, ranks >= 0)
    found = made.snapshot.ids(leaves[leaves >= 0].numpy())
    assert found.tolist() == made.ids[ranks[ranks >= 0].numpy()].tolist()


@settings(max_examples=50, deadline=None)
@given(
    sizes=st.lists(st.sampled_from([1, 2, 3, 5, 9, 300]), min_size=2, max_size=5),
    items=st.integers(0, 60),
    edits=st.integers(0, 25),
    seed=st.integers(0, 10**6),
    width=st.integers(1, 40),
    normalise=st.sampled_from(["catalogue", "full"]),
    filtered=st.booleans(),
    with_nodes=st.booleans(),
)
def test_an_edited_catalogue_equals_one_built_afresh(
    sizes: list[int],
    items: int,
    edits: int,
    seed: int,
    width: int,
    normalise: Normalise,
    filtered: bool,
    with_nodes: bool,
) -> None:
    with edited(sizes, items, edits, seed) as made:
        check_search(made, seed, width, normalise, filtered, with_nodes)


@pytest.mark.parametrize("normalise", ["catalogue", "full"])
@pytest.mark.parametrize("with_nodes", [False, True])
def test_a_larger_catalogue(normalise: Normalise, with_nodes: bool) -> None:
    # 16 x 16 tables on two levels, and prefixes that lost all, some or none of their items.
    with edited([16, 16, 16, 16], 3000, 120, 5) as made:
        for width in (1, 20, 70):
            check_search(made, width, width, normalise, True, with_nodes)
