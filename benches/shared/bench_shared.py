"""The cases of `mmgrec bench` under pytest-benchmark."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from mmgrec.profiling.cases import Case
from mmgrec.profiling.timing import keep_freed_memory, threads


def ids_of(makers: Sequence[Callable[[], Case]]) -> list[str]:
    """Name parametrised cases by the arguments of their makers."""
    return ["-".join(map(str, m.args)) for m in makers if isinstance(m, partial)]


def benchmark_case(benchmark: BenchmarkFixture, make: Any, method: str) -> None:  # noqa: ANN401
    """Time one method of a case on one thread, after checking that all methods agree."""
    keep_freed_memory()
    case: Case = make()
    calls = {**case.ours, **case.baselines}
    if method not in calls:
        pytest.skip(f"{method} is not installed")
    case.check()
    benchmark.group = case.title
    benchmark.extra_info.update(case.shape)
    if case.work is not None:
        benchmark.extra_info.update(flops=case.work.flops, bytes=case.work.bytes)
    with threads(1):
        benchmark.pedantic(
            calls[method], setup=case.prepare.get(method), rounds=7, iterations=1, warmup_rounds=2
        )
