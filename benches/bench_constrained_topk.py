"""A step of the search beside a plain torch step over a CSR trie.

Floor: a step reads the logits and tokens of the children and writes W beams; at B = 1, M = 10 that
is 1 KB, well inside the first-level cache, so what is left is the log-sum-exp of the children.
"""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench_shared import THREADS, benchmark_case, ids_of
from mmgrec.profiling.trie_cases import step_cases

CASES = list(step_cases())


@pytest.mark.parametrize("method", ["native", "op", "torch_csr"])
@pytest.mark.parametrize("count", THREADS)
@pytest.mark.parametrize("make", CASES, ids=ids_of(CASES))
def test_step(benchmark: BenchmarkFixture, make: object, count: int, method: str) -> None:
    benchmark_case(benchmark, make, method, count)
