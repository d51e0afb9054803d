"""Live catalogues with edits pending, and what was built afresh from the same items."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from mmgrec_engine.catalog.filters import NamedSet, RankFilter
from mmgrec_engine.catalog.leaf_sets import LeafSet
from mmgrec_engine.catalog.live import LiveCatalog
from mmgrec_engine.catalog.nodes import NodeVectors
from mmgrec_engine.catalog.snapshot import Snapshot
from mmgrec_engine.catalog.trie import Trie
from mmgrec_engine.ops.constrained_topk import Nodes

WIDTH = 6
"""Of item vectors."""


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
            Nodes.of(query, of_base.edited(self.vectors[added], self.vectors[removed]), level),
            Nodes.of(query, of_trie, level),
        )


@contextmanager
def edited(sizes: list[int], items: int, edits: int, seed: int) -> Iterator[Edited]:
    """A random catalogue with random inserts and deletes, some of them of the same Rec-ID."""
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
