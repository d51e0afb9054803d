"""`rq_assign` beside torch, faiss and vector-quantize-pytorch.

Floor: 2 N S K D operations; 9.8 and 39.3 billion at D = 64 and 256 against 29 and 105 MB moved, so
arithmetic bounds it. What torch loses is the [N, K] matrix of distances that it writes and reads.
"""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench_shared import THREADS, benchmark_case, ids_of
from mmgrec.profiling.rq_assign_cases import rq_assign_cases

CASES = list(rq_assign_cases())
METHODS = [
    "native",
    "torch_addmm",
    "torch_addmm_in_parts",
    "faiss_residual_quantizer",
    "vector_quantize_pytorch",
]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("count", THREADS)
@pytest.mark.parametrize("make", CASES, ids=ids_of(CASES))
def test_assign(benchmark: BenchmarkFixture, make: object, count: int, method: str) -> None:
    benchmark_case(benchmark, make, method, count)
