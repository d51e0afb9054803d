"""`beam_self_attention` beside fused attention over a cache that is moved beam by beam.

Floor: a beam's keys and values are read once, the newest written once: 12 x 64 numbers at position
3 and a model width of 64, so memory bounds it on any machine.
"""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench_shared import THREADS, benchmark_case, ids_of
from mmgrec.profiling.beam_self_attention_cases import beam_self_attention_cases

CASES = list(beam_self_attention_cases())


@pytest.mark.parametrize("method", ["reference", "torch_sdpa"])
@pytest.mark.parametrize("count", THREADS)
@pytest.mark.parametrize("make", CASES, ids=ids_of(CASES))
def test_forward(benchmark: BenchmarkFixture, make: object, count: int, method: str) -> None:
    benchmark_case(benchmark, make, method, count)
