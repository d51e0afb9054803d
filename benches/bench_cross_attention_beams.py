"""`cross_attention_beams` beside fused attention with the memory once, and repeated for every beam.

Floor: 4 M L d operations per user and head; at M = 50, L = 32 and d = 16 that is 26 million for 64
users against 8 MB moved, of which q and the result are most.
"""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench_shared import THREADS, benchmark_case, ids_of
from mmgrec.profiling.cross_attention_cases import cross_attention_cases

CASES = list(cross_attention_cases())


@pytest.mark.parametrize("method", ["reference", "torch_sdpa", "repeated_memory"])
@pytest.mark.parametrize("count", THREADS)
@pytest.mark.parametrize("make", CASES, ids=ids_of(CASES))
def test_forward(benchmark: BenchmarkFixture, make: object, count: int, method: str) -> None:
    benchmark_case(benchmark, make, method, count)
