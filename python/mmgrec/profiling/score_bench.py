"""`mmgrec bench score`: a batch job beside the searches that it consists of.

The baseline is what `mmgrec bench engine` times: prepared requests of 64 users, arrays in and
arrays out. The job reads Parquet, turns ids into rows and back and writes Parquet.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from mmgrec.data.dataset import Dataset
from mmgrec.profiling.environment import machine
from mmgrec.profiling.synthetic_users import write_synthetic_users
from mmgrec.scoring.job import Job, LocalRunner, score
from mmgrec.scoring.settings import ScoreSettings
from mmgrec_engine.engine import Engine

ROUNDS = 5
"""Turns of job and baseline: a machine that slows down slows both down."""

BATCH = 64
BASELINE_USERS = 20_000
"""Users of the baseline in a turn."""


@dataclass(frozen=True)
class Spent:
    """Seconds by the clock and of all processors, for so many users."""

    users: int
    seconds: float
    cpu_seconds: float


def bench_score(
    run: Path, users: int, k: int, beam_width: int, threads: int, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Score synthetic users of a run, and compare with its engine called on batches.

    Parameters
    ----------
    run : Path
        A run.
    users : int
        How many, over all turns.
    k, beam_width, threads
        As of `mmgrec score`.
    tell : callable
        Gets the name of each step before it runs.

    Returns
    -------
    dict
        ``machine`` and ``rows``; a row's ``ratio`` is the job's users per second over the
        baseline's, ``cpu_ratio`` the same per second of processor time.
    """
    dataset, engine = Dataset.load(run / "dataset"), Engine.load(run, threads=threads)
    settings = ScoreSettings(k=k, beam_width=beam_width)
    jobs, searches = [], []
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(ROUNDS):
            tell(f"turn {turn + 1} of {ROUNDS}")
            table = Path(folder) / f"users-{turn}.parquet"
            write_synthetic_users(dataset, table, max(users // ROUNDS, 1), turn)
            searches.append(_search(engine, table, settings))
            job = Job(run, table, Path(folder) / f"out-{turn}", settings)
            jobs.append(_job(job, threads))
    return {"machine": machine(), "rows": [_row(dataset, engine, settings, jobs, searches)]}


def _search(engine: Engine, table: Path, settings: ScoreSettings) -> Spent:
    """Time searches of prepared requests; preparing them is not timed."""
    batches = pq.ParquetFile(table).iter_batches(BASELINE_USERS, columns=["history"])
    histories = next(batches)["history"].to_pylist()
    prepared = [
        engine.prepare(
            histories[begin : begin + BATCH], k=settings.k, beam_width=settings.beam_width
        )
        for begin in range(0, len(histories), BATCH)
    ]
    engine.searcher.search(*engine.prepare(histories[:BATCH], k=settings.k, beam_width=1))  # warm
    return _timed(
        len(histories), lambda: [engine.searcher.search(state, each) for state, each in prepared]
    )


def _job(job: Job, threads: int) -> Spent:
    users = pq.read_metadata(job.input).num_rows
    return _timed(users, lambda: score(job, LocalRunner(threads), Console(quiet=True)))


def _timed(users: int, work: Callable[[], object]) -> Spent:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Spent(users, time.perf_counter() - wall, time.process_time() - cpu)


def _row(
    dataset: Dataset,
    engine: Engine,
    settings: ScoreSettings,
    jobs: list[Spent],
    searches: list[Spent],
) -> dict[str, Any]:
    ours, base = ([s.users / s.seconds for s in spent] for spent in (jobs, searches))
    ours_cpu, base_cpu = ([s.users / s.cpu_seconds for s in spent] for spent in (jobs, searches))
    threads = engine.searcher.threads
    return {
        "bench": "score",
        "case": {
            "dataset": dataset.name,
            "items": engine.trie.num_items,
            "users": sum(s.users for s in jobs),
            "k": settings.k,
            "beam_width": settings.beam_width,
        },
        "backend": engine.searcher.backend,
        "threads": threads,
        "seconds": sum(s.seconds for s in jobs),
        "users_per_s": float(np.median(ours)),
        "users_per_s_per_core": float(np.median(ours)) / threads,
        "users_per_cpu_s": float(np.median(ours_cpu)),
        "baseline": f"engine_batch, {BATCH} users a call",
        "baseline_users_per_s": float(np.median(base)),
        "baseline_users_per_cpu_s": float(np.median(base_cpu)),
        "ratio": float(np.median(np.divide(ours, base))),
        "cpu_ratio": float(np.median(np.divide(ours_cpu, base_cpu))),
    }


def score_table(report: dict[str, Any]) -> Table:
    """Lay the report out for people."""
    (row,) = report["rows"]
    case = row["case"]
    table = Table(
        title=f"score: {case['dataset']}, {case['users']:,} synthetic users, best {case['k']}, "
        f"{case['beam_width']} beams, {row['threads']} threads",
        title_justify="left",
        caption="medians of turns; a job reads and writes Parquet, a search has arrays already",
        caption_justify="left",
    )
    for name in ("", "users/s", "per core", "per processor second"):
        table.add_column(name, justify="right")
    for name, wall, cpu in (
        ("job", row["users_per_s"], row["users_per_cpu_s"]),
        ("search", row["baseline_users_per_s"], row["baseline_users_per_cpu_s"]),
    ):
        table.add_row(name, f"{wall:,.0f}", f"{wall / row['threads']:,.0f}", f"{cpu:,.0f}")
    table.add_row("ratio", f"{row['ratio']:.3f}", f"{row['ratio']:.3f}", f"{row['cpu_ratio']:.3f}")
    return table
