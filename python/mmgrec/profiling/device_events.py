"""What a GPU's own clock says: Triton's `do_bench`, and the device's roofs by it and by graphs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from mmgrec.profiling.bench_schema import Row
from mmgrec.profiling.cases import Case
from mmgrec.profiling.device_timing import CALLS, captured
from mmgrec.profiling.roof import Roof
from mmgrec.profiling.timing import measure

GEMM_SIZE = 8192
COPY_BYTES = 2**30


def event_seconds(method: Callable[[], object]) -> list[float]:
    """Return the seconds between two events around every call, the second-level cache cold."""
    from triton.testing import do_bench

    found: list[float] = do_bench(method, return_mode="all")
    return [milliseconds / 1e3 for milliseconds in found]


def event_fields(case: Case) -> dict[str, Row]:
    """Return, for every method of a case, the fields that `do_bench` adds to its row.

    A row's own times are of a graph's replay, whose inputs stay in the cache where they fit and
    whose launches cost nothing; these are of single calls that find the cache cold.
    """
    found = {}
    for name, method in {**case.ours, **case.baselines}.items():
        seconds = event_seconds(method)
        found[name] = {
            "do_bench_median_s": float(np.median(seconds)),
            "do_bench_best_s": min(seconds),
            "do_bench_rounds": len(seconds),
        }
    return found


def measure_device_roof() -> tuple[Roof, dict[str, float]]:
    """Measure the GPU's roofs; return the best of both ways, and all figures for the report.

    ::

        float32 and bfloat16 product of 8,192-wide matrices; a copy of 1 GiB
        each by `do_bench`, and as a replay of a graph of 20 calls
    """
    methods = _methods()
    replays = measure({name: captured(method) for name, method in methods.items()}, "cuda")
    work = {"gemm": 2 * GEMM_SIZE**3, "gemm_bf16": 2 * GEMM_SIZE**3, "copy": 2 * COPY_BYTES}
    figures, best = {}, {}
    for name, method in methods.items():
        label = "copy_gbs" if name == "copy" else f"{name}_gflops"
        graph = work[name] / (replays[name].best / CALLS)
        events = work[name] / min(event_seconds(method))
        best[name] = max(graph, events)
        figures[f"{label}_1t"] = best[name] / 1e9
        figures[f"{label}_graph"] = graph / 1e9
        figures[f"{label}_do_bench"] = events / 1e9
    return Roof({1: best["gemm"]}, {1: best["copy"]}), figures


def _methods() -> dict[str, Callable[[], object]]:
    a, b = (torch.randn(GEMM_SIZE, GEMM_SIZE, device="cuda") for _ in range(2))
    wide_out, narrow_out = torch.empty_like(a), torch.empty_like(a, dtype=torch.bfloat16)
    narrow_a, narrow_b = a.bfloat16(), b.bfloat16()
    source = torch.ones(COPY_BYTES // 4, device="cuda")
    target = torch.empty_like(source)
    return {
        "gemm": lambda: torch.mm(a, b, out=wide_out),
        "gemm_bf16": lambda: torch.mm(narrow_a, narrow_b, out=narrow_out),
        "copy": lambda: target.copy_(source),
    }
