"""Whole requests beside batched torch and Hugging Face, and how ours grow with the catalogue.

Floor: see `request_work`; the arithmetic of the model, which bounds a request on any machine.
Retrieval by other means (`mmgrec bench engine`, `retrieval_growth`) is not repeated here.
"""

from __future__ import annotations

import functools

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench_shared import THREADS, benchmark_case, ids_of
from mmgrec.profiling.cases import Case
from mmgrec.profiling.engine_cases import BATCH, WIDTHS, engine_case
from mmgrec.profiling.engine_world import World
from mmgrec.profiling.filter_request_cases import UNFILTERED, engine_of, filter_request_case
from mmgrec.profiling.report_parts import GROWTH, REQUESTS
from mmgrec.profiling.timing import keep_freed_memory, threads
from mmgrec_engine.engine import Engine

METHODS = ["native", "native_bf16", "native_int8", "torch", "hf_generate"]


@functools.lru_cache(maxsize=1)
def world(items: int) -> World:
    """Return the random model of so many items; the last one is kept."""
    keep_freed_memory()
    return World(items)


def case(items: int, users: int, width: int) -> Case:
    return engine_case(world(items), users, width)


CASES = [
    functools.partial(case, items, users, width)
    for items in REQUESTS
    for users in (1, BATCH)
    for width in WIDTHS
]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("count", THREADS)
@pytest.mark.parametrize("make", CASES, ids=ids_of(CASES))
def test_requests(benchmark: BenchmarkFixture, make: object, count: int, method: str) -> None:
    benchmark_case(benchmark, make, method, count)


@functools.lru_cache(maxsize=1)
def filtered_engine(items: int) -> Engine:
    """Return an engine over the random model of so many items."""
    return engine_of(world(items))


def filtered(items: int, width: int) -> Case:
    return filter_request_case(filtered_engine(items), world(items), width)


FILTERED = ["native_list", "native_ascending_list", "native_array", "native_named", UNFILTERED]
FILTERED_CASES = [
    functools.partial(filtered, items, width) for items in REQUESTS for width in WIDTHS
]


@pytest.mark.parametrize("method", FILTERED)
@pytest.mark.parametrize("make", FILTERED_CASES, ids=ids_of(FILTERED_CASES))
def test_denied_items(benchmark: BenchmarkFixture, make: object, method: str) -> None:
    benchmark_case(benchmark, make, method)


@pytest.mark.parametrize("width", [10, 50])
@pytest.mark.parametrize("items", GROWTH)
def test_growth(benchmark: BenchmarkFixture, items: int, width: int) -> None:
    call = world(items).native(1, width)
    benchmark.group = f"retrieval_growth M={width}"
    benchmark.extra_info.update(bench="retrieval_growth", items=items, backend="native")
    with threads(1):
        benchmark(call)
