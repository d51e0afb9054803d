"""Edits of a live catalogue of a million items, with and without the journal.

Floor of a durable edit: one append and one fdatasync, which is the disk's figure, not ours.
"""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from mmgrec.profiling.trie_edit_cases import BATCHES, PENDING, EditCase


@pytest.fixture(scope="module", params=PENDING)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> EditCase:
    return EditCase(tmp_path_factory.mktemp("live") / "catalog", request.param)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("mode", ["durable", "in_memory"])
def test_edits(benchmark: BenchmarkFixture, case: EditCase, mode: str, batch: int) -> None:
    edit = getattr(case, mode)(batch)
    benchmark.extra_info["edits"] = 2 * batch
    benchmark(edit)


def test_compaction(benchmark: BenchmarkFixture, case: EditCase) -> None:
    benchmark.pedantic(case.compact, setup=case.change_pending, rounds=5)
