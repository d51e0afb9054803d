"""`mmgrec bench soak`: requests and edits without a pause, and what memory does meanwhile."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from mmgrec.profiling.environment import machine
from mmgrec_engine.engine import Engine

SAMPLES = 30
"""Of resident memory, spread over the run; the first third is warm-up."""

BATCHES = (1, 1, 1, 8)
WIDTHS = (10, 50)
FILTER = "soak"


class Soak:
    """Threads that ask an engine until told to stop; one of them edits as well.

    Parameters
    ----------
    engine : Engine
        What to load.
    histories : list
        Histories to choose from.
    edits : bool
        Replace items by random ones while requests go on.
    """

    def __init__(self, engine: Engine, histories: list[list[Any]], edits: bool) -> None:
        self.requests, self.edits = 0, 0
        self.errors: list[BaseException] = []
        self._engine, self._histories, self._editing = engine, histories, edits
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._latency: list[float] = []

    def run(self, seconds: float, workers: int, tell: Callable[[str], None]) -> dict[str, Any]:
        """Load the engine for so long; return requests, latency and memory over time."""
        threads = [threading.Thread(target=self._guard, args=(i,)) for i in range(workers)]
        for thread in threads:
            thread.start()
        begin = time.monotonic()
        memory = []
        try:
            for sample in range(SAMPLES):
                self._stop.wait(
                    max(0.0, begin + (sample + 1) * seconds / SAMPLES - time.monotonic())
                )
                memory.append(resident_bytes())
                passed = time.monotonic() - begin
                tell(f"{passed:,.0f} of {seconds:,.0f} s, {memory[-1] / 1e6:,.0f} MB")
                if self._stop.is_set():
                    break
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()
        if self.errors:
            raise self.errors[0]
        return self._report(time.monotonic() - begin, workers, memory)

    def _report(self, seconds: float, workers: int, memory: list[int]) -> dict[str, Any]:
        steady = memory[len(memory) // 3 :]
        return {
            "bench": "soak",
            "case": {"seconds": round(seconds), "threads": workers, "edits": self._editing},
            "backend": self._engine.searcher.backend,
            "requests": self.requests,
            "requests_per_s": self.requests / seconds,
            "median_s": float(np.median(self._latency)),
            "p99_s": float(np.quantile(self._latency, 0.99)),
            "edits": self.edits,
            "resident_bytes": memory,
            "growth_bytes": max(steady) - steady[0],
        }

    def _guard(self, worker: int) -> None:
        try:
            self._work(np.random.default_rng(worker), worker == 0 and self._editing)
        except BaseException as error:
            self.errors.append(error)
            self._stop.set()

    def _work(self, rng: np.random.Generator, editing: bool) -> None:
        while not self._stop.is_set():
            chosen = rng.integers(0, len(self._histories), rng.choice(BATCHES))
            begin = time.perf_counter()
            self._engine.recommend(
                [self._histories[i] for i in chosen],
                k=10,
                beam_width=int(rng.choice(WIDTHS)),
                where=FILTER if rng.random() < 0.2 else None,
            )
            took = time.perf_counter() - begin
            with self._lock:
                self.requests += 1
                if len(self._latency) < 100_000:
                    self._latency.append(took)
            if editing and rng.random() < 0.02:
                self._edit(rng)

    def _edit(self, rng: np.random.Generator) -> None:
        engine = self._engine
        width = engine.item_width
        item = engine.item_ids.ids(rng.integers(0, len(engine.item_ids), 1))[0]
        vector = rng.standard_normal((1, width)).astype(np.float32)
        engine.replace([item], vectors=vector / np.linalg.norm(vector))
        self.edits += 1


def soak(
    engine: Engine,
    histories: list[list[Any]],
    seconds: float,
    *,
    edits: bool,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """Load an engine with one thread per processor; return ``machine`` and ``rows``."""
    ids = [history[0] for history in histories]
    engine.set_filter(FILTER, sorted(set(ids), key=str))
    run = Soak(engine, histories, edits)
    row = run.run(seconds, len(os.sched_getaffinity(0)), tell)
    return {"machine": machine(), "rows": [row]}


@contextmanager
def copy_of(run: Path) -> Iterator[Path]:
    """Copy an artifact, without what trained it, for as long as the context lasts."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "run"
        ignored = shutil.ignore_patterns("training", "dataset", "tokenizer", "catalog")
        shutil.copytree(run, copy, ignore=ignored)
        yield copy


def resident_bytes() -> int:
    """Return this process's resident memory (Linux)."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def soak_table(report: dict[str, Any]) -> Table:
    """Lay the run out for people."""
    table = Table(title="soak", title_justify="left")
    for name in ("seconds", "threads", "requests/s", "p50 ms", "p99 ms", "edits"):
        table.add_column(name, justify="right")
    for name in ("MB after warm-up", "most MB later", "growth MB"):
        table.add_column(name, justify="right")
    for row in report["rows"]:
        memory = row["resident_bytes"]
        steady = memory[len(memory) // 3 :]
        table.add_row(
            *(str(row["case"][name]) for name in ("seconds", "threads")),
            f"{row['requests_per_s']:,.0f}",
            *(f"{row[name] * 1e3:.3g}" for name in ("median_s", "p99_s")),
            f"{row['edits']:,}",
            *(f"{value / 1e6:,.1f}" for value in (steady[0], max(steady), row["growth_bytes"])),
        )
    return table
