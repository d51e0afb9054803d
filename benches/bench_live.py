"""Edits of a live catalogue of a million items, with and without the journal.

Floor of a durable edit: one append and one fdatasync, which is the disk's figure, not ours.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from mmgrec_engine import _native
from mmgrec_engine.catalog.live import LiveCatalog

ITEMS, SIZES = 1_000_000, [256, 256, 256, 16]
SPARE = 200_000
NEVER = 10**9


class Case:
    """A catalogue with ``pending`` additions, and Rec-IDs that are still free."""

    def __init__(self, folder: Path, pending: int) -> None:
        rng = np.random.default_rng(0)
        keys = np.unique(rng.integers(0, np.prod(SIZES), 2 * ITEMS))
        keys = rng.permutation(keys)[: ITEMS + SPARE]
        codes = np.stack(np.unravel_index(keys, SIZES), axis=1).astype(np.int32)
        self.free = codes[ITEMS:]
        self.catalog = LiveCatalog.create(folder, codes[:ITEMS], SIZES, compact_after=NEVER)
        self.catalog.insert(self.free[SPARE - pending :], np.arange(pending) + 2 * ITEMS)

    def durable(self, batch: int) -> Callable[[], None]:
        """Insert a batch of new items and delete it again: two durable calls."""

        def edit() -> None:
            codes = self.free[:batch]
            self.catalog.insert(codes, np.arange(batch) + ITEMS)
            self.catalog.delete(codes)

        return edit

    def in_memory(self, batch: int) -> Callable[[], None]:
        """Do the same without the journal."""
        live = self.catalog._native
        codes, nothing = self.free[:batch], self.free[:0]
        ids, no_ids = np.arange(batch, dtype=np.uint32) + ITEMS, np.zeros(0, np.uint32)

        def edit() -> None:
            insert = _native.EditBatch.make(0, codes, nothing, ids, [], SIZES)
            live.publish(live.prepare(insert))
            delete = _native.EditBatch.make(1, codes, nothing, no_ids, [], SIZES)
            live.publish(live.prepare(delete))

        return edit


@pytest.fixture(scope="module", params=[0, 4000])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(tmp_path_factory.mktemp("live") / "catalog", request.param)


@pytest.mark.parametrize("batch", [1, 100])
@pytest.mark.parametrize("mode", ["durable", "in_memory"])
def test_edits(benchmark: BenchmarkFixture, case: Case, mode: str, batch: int) -> None:
    edit = getattr(case, mode)(batch)
    benchmark.extra_info["edits"] = 2 * batch
    benchmark(edit)


def test_compaction(benchmark: BenchmarkFixture, case: Case) -> None:
    benchmark.pedantic(lambda: case.catalog.compact(background=False), rounds=5)
