"""`linear_norm` beside the same in torch, call by call.

Floor: see `linear_norm_work`; on a GPU the rows' memory bounds it while the weights stay in the
cache.
"""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench_shared import THREADS, benchmark_case, ids_of
from mmgrec.profiling.norm_block_cases import linear_norm_cases

CASES = list(linear_norm_cases())


@pytest.mark.parametrize("count", THREADS)
@pytest.mark.parametrize("make", CASES, ids=ids_of(CASES))
def test_forward(benchmark: BenchmarkFixture, make: object, count: int) -> None:
    benchmark_case(benchmark, make, "torch", count)
