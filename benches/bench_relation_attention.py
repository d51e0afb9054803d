"""`relation_attention` beside torch's fused attention with a materialised bias.

Floor: B (4 H + 2) L^2 d operations; at L = 32 and d = 64 that is 75 million against 5 MB moved, so
arithmetic bounds it. The softmax adds one exponential per weight and head.
"""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench_shared import THREADS, benchmark_case, ids_of
from mmgrec.profiling.relation_attention_cases import relation_attention_cases

CASES = list(relation_attention_cases())


@pytest.mark.parametrize("method", ["native", "torch_sdpa", "reference"])
@pytest.mark.parametrize("count", THREADS)
@pytest.mark.parametrize("make", CASES, ids=ids_of(CASES))
def test_forward(benchmark: BenchmarkFixture, make: object, count: int, method: str) -> None:
    benchmark_case(benchmark, make, method, count)
