"""The machine's roofs: the rate of a large matrix product and of a large copy, measured."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import torch

from mmgrec.profiling.timing import keep_freed_memory, measure, threads

GEMM_SIZE = 1536
COPY_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Roof:
    """Operations and bytes per second, per thread count.

    A float32 product of two square matrices stands for the arithmetic, since a good library brings
    it near what the processor can do; a copy larger than the caches for the memory (bytes read
    plus bytes written). A roof is the best round, an op's time the median of its rounds.
    """

    flops_per_s: dict[int, float]
    bytes_per_s: dict[int, float]

    def as_json(self) -> dict[str, float]:
        """Return the fields of a report."""
        found = {}
        for count, rate in self.flops_per_s.items():
            found[f"gemm_gflops_{count}t"] = rate / 1e9
            found[f"copy_gbs_{count}t"] = self.bytes_per_s[count] / 1e9
        return found


def begin_bench(tell: Callable[[str], None]) -> tuple[tuple[int, ...], Roof]:
    """Set up what every bench needs: the thread counts to time, and the roofs of the processor."""
    keep_freed_memory()
    counts = (1,) if len(os.sched_getaffinity(0)) == 1 else (1, 2)
    tell("roofs of this machine")
    return counts, measure_roof(counts)


def measure_roof(thread_counts: tuple[int, ...], device: str = "cpu") -> Roof:
    """Measure both roofs for every thread count."""
    a, b = (torch.randn(GEMM_SIZE, GEMM_SIZE, device=device) for _ in range(2))
    out = torch.empty_like(a)
    source = torch.ones(COPY_BYTES // 4, device=device)
    target = torch.empty_like(source)
    methods = {
        "gemm": lambda: torch.mm(a, b, out=out),
        "copy": lambda: target.copy_(source),
    }
    flops, moved = {}, {}
    for count in thread_counts:
        with threads(count):
            found = measure(methods, device)
        flops[count] = 2 * GEMM_SIZE**3 / found["gemm"].best
        moved[count] = 2 * COPY_BYTES / found["copy"].best
    return Roof(flops, moved)
