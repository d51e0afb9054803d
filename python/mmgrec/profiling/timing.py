"""Fair timing: warm, interleaved, medians, the same threads and allocator for everybody."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch

WARM_UP = 3
LEAST_ROUNDS = 7
MOST_ROUNDS = 200
SECONDS_PER_METHOD = 1.0
SETTLE = 0.012
"""Pause before a call, in seconds: OpenMP's threads spin for some milliseconds after a loop and
would take a core from whoever comes next. A GPU needs none: nobody else uses it."""


@dataclass(frozen=True)
class Timing:
    """Seconds of one method; ``rounds``: turns, or calls where they count apart."""

    best: float
    median: float
    p99: float
    rounds: int

    def per(self, calls: int) -> Timing:
        """Return the time of one of so many."""
        return Timing(self.best / calls, self.median / calls, self.p99 / calls, self.rounds)


def measure(
    methods: Mapping[str, Callable[[], object]],
    device: str = "cpu",
    *,
    prepare: Mapping[str, Callable[[], object]] = MappingProxyType({}),
    calls: int = 1,
    apart: bool = False,
    steady: float = 0.0,
) -> dict[str, Timing]:
    """Time methods against each other.

    ::

        warm every method up; then rounds of one turn of each, so that a machine that slows down
        slows everybody down; at least 7 rounds, more where a turn is short
        a turn: prepare, not timed; settle; `calls` calls, of which the mean counts, or all apart;
            or a steady turn: settle; calls that do not count; calls that count, all apart

    Parameters
    ----------
    methods : mapping
        Name to a call without arguments.
    device : {"cpu", "cuda"}
        Where they run; a GPU is waited for before the clock is read.
    prepare : mapping
        Name to what is done before every turn of a method that uses something up.
    calls : int
        Calls of a turn: several where one takes microseconds and the pause before it would show.
    apart : bool
        Every call of a turn counts by itself but the first, which finds the caches cold.
    steady : float
        Seconds of calls before those of a turn that count, for what is called all the time: until
        then a second processor may not even be awake. Every call is prepared by itself.
    """

    def turn(name: str) -> list[float]:
        ready = prepare.get(name, _nothing)
        ready()
        wait()
        time.sleep(settle)
        if steady:
            return _steady(methods[name], ready, wait, steady, calls)
        if apart:
            return [_seconds(methods[name], wait) for _ in range(calls + 1)][1:]
        return [_seconds(methods[name], wait, calls)]

    wait = torch.cuda.synchronize if device == "cuda" else _nothing
    settle = 0.0 if device == "cuda" else SETTLE
    longest = 0.0
    for name in methods:
        for _ in range(WARM_UP):
            longest = max(longest, float(np.mean(turn(name))) * calls + steady)
    rounds = int(np.clip(SECONDS_PER_METHOD / max(longest, 1e-9), LEAST_ROUNDS, MOST_ROUNDS))
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(rounds):
        for name in methods:
            seconds[name] += turn(name)
    return {
        name: Timing(
            min(values), float(np.median(values)), float(np.quantile(values, 0.99)), len(values)
        )
        for name, values in seconds.items()
    }


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Run with so many threads in torch, the native kernels and faiss."""
    import faiss

    before = torch.get_num_threads(), faiss.omp_get_max_threads()
    torch.set_num_threads(count)
    faiss.omp_set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        faiss.omp_set_num_threads(before[1])


def keep_freed_memory() -> None:
    """Tell the C library to keep freed memory for the next allocation (Linux with glibc).

    By default it returns large blocks to the system, and every torch call that makes a large
    tensor then pays for fresh pages: up to 2.6 times slower baselines, which would flatter us.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    trim_threshold, mmap_max = -1, -4
    mallopt(trim_threshold, 2**31 - 1)
    mallopt(mmap_max, 0)


def _seconds(method: Callable[[], object], wait: Callable[[], None], calls: int = 1) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        method()
    wait()
    return (time.perf_counter() - start) / calls


def _steady(
    method: Callable[[], object],
    prepare: Callable[[], object],
    wait: Callable[[], None],
    seconds: float,
    calls: int,
) -> list[float]:
    end = time.perf_counter() + seconds
    found: list[float] = []
    while len(found) < calls:
        prepare()
        counts = time.perf_counter() >= end
        taken = _seconds(method, wait)
        if counts:
            found.append(taken)
    return found


def _nothing() -> None:
    pass
