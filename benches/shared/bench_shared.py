"""The cases of `mmgrec bench` under pytest-benchmark."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from mmgrec.profiling.bench_schema import row_key
from mmgrec.profiling.cases import Case
from mmgrec.profiling.roof import Roof, measure_roof
from mmgrec.profiling.timing import (
    LEAST_ROUNDS,
    MOST_ROUNDS,
    SECONDS_PER_METHOD,
    SETTLE,
    keep_freed_memory,
    threads,
)

THREADS = [1, 2]
"""As `mmgrec bench`: a case of one user has one unit of work and takes one."""


def ids_of(makers: Sequence[Callable[[], Case]]) -> list[str]:
    """Name parametrised cases by the arguments of their makers."""
    return ["-".join(map(str, m.args)) for m in makers if isinstance(m, functools.partial)]


@functools.cache
def roof() -> Roof:
    """The machine's roofs, measured once per session."""
    keep_freed_memory()
    return measure_roof(tuple(THREADS))


@functools.lru_cache(maxsize=1)
def checked(make: Callable[[], Case]) -> Case:
    """Make a case, and see that all of its methods agree; kept while its methods take turns."""
    case = make()
    case.check()
    return case


def benchmark_case(benchmark: BenchmarkFixture, make: Any, method: str, count: int = 1) -> None:  # noqa: ANN401
    """Time one method of a case; the fields of its row in a report go into ``extra_info``."""
    keep_freed_memory()
    case = checked(make)
    calls = {**case.ours, **case.baselines}
    if method not in calls:
        pytest.skip(f"{method} does not run here")
    if count > 1 and case.items == 1:
        pytest.skip("one unit of work")
    run, prepare = calls[method], case.prepare.get(method, _nothing)

    def settle() -> None:
        prepare()
        time.sleep(SETTLE)
        if case.apart:
            run()  # the call that finds the caches cold

    benchmark.group = f"{case.title}, {count} threads"
    with threads(count):
        settle()
        begin = time.perf_counter()
        run()
        took = time.perf_counter() - begin
        rounds = int(np.clip(SECONDS_PER_METHOD / took, LEAST_ROUNDS, MOST_ROUNDS))
        benchmark.pedantic(run, setup=settle, rounds=rounds, iterations=1, warmup_rounds=2)
    benchmark.extra_info.update(_fields(case, method, count, benchmark))


def _fields(case: Case, method: str, count: int, benchmark: BenchmarkFixture) -> dict[str, Any]:
    row = {"bench": case.bench, "case": case.shape, "backend": method, "threads": count}
    row |= {"key": row_key(row), "ours": method in case.ours}
    if benchmark.stats is None:  # --benchmark-disable
        return row
    median = benchmark.stats["median"]
    row["items_per_s"] = case.items / median
    if case.work is not None:
        floor = case.work.floor_seconds(roof().flops_per_s[count], roof().bytes_per_s[count])
        row |= {"flops": case.work.flops, "bytes": case.work.bytes}
        row["roof_share"] = floor / median
    return row


def _nothing() -> None:
    pass
