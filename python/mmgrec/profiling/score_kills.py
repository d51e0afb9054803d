"""`mmgrec bench score --kills`: a batch job that is killed at random moments, file by file.

::

    score synthetic users once, undisturbed
    score them again: kill -9 after a random time, start again, ...; the last start ends by itself
    compare every file of both folders byte for byte, and count rows that are lost or doubled
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from rich.table import Table

from mmgrec.data.dataset import Dataset
from mmgrec.profiling.environment import machine
from mmgrec.profiling.synthetic_users import write_synthetic_users
from mmgrec_engine.artifact import sha256_of
from mmgrec_engine.errors import MMGRecError

SEED = 0
"""Of the users and of the moments."""


@dataclass(frozen=True)
class Kill:
    """One kill: seconds since that start, files finished until then, files half written."""

    seconds: float
    finished: int
    half_written: int


@dataclass(frozen=True)
class Comparison:
    """Two output folders: how many files, which differ, and rows of the second."""

    files: int
    different: list[str]
    rows: int
    rows_lost: int
    rows_doubled: int

    @property
    def identical(self) -> bool:
        """Whether both hold the same."""
        return not (self.different or self.rows_lost or self.rows_doubled)


def bench_score_kills(
    run: Path,
    users: int,
    k: int,
    beam_width: int,
    threads: int,
    kills: int,
    tell: Callable[[str], None],
    *,
    rows_per_shard: int = 50_000,
) -> dict[str, Any]:
    """Kill a job so often and compare what it leaves with an undisturbed one.

    Parameters
    ----------
    run, users, k, beam_width, threads, tell
        As of `bench_score`.
    kills : int
        At moments that are drawn, start of the process included, such that all of them together
        take about as long as the undisturbed job.
    rows_per_shard : int
        As of `mmgrec score`.

    Returns
    -------
    dict
        ``machine`` and ``rows``; a row has the seconds of both jobs, every `Kill`, and the
        `Comparison`. ``kills`` may be fewer than asked where the job was faster.
    """
    dataset = Dataset.load(run / "dataset")
    with tempfile.TemporaryDirectory() as name:
        table, whole, killed = (Path(name) / part for part in ("users.parquet", "whole", "killed"))
        tell("making users")
        write_synthetic_users(dataset, table, users, SEED)
        options = {
            "input": table,
            "k": k,
            "beam-width": beam_width,
            "threads": threads,
            "rows-per-shard": rows_per_shard,
        }
        tell("undisturbed")
        seconds = _score(run, whole, options)
        began = time.perf_counter()
        done = _kill_often(run, killed, options, seconds, kills, tell)
        disturbed = time.perf_counter() - began
        tell("comparing")
        found = compare(whole, killed)
    case = {"dataset": dataset.name, "items": dataset.num_items, "users": users, "k": k}
    row = {
        "bench": "score_kills",
        "case": {**case, "beam_width": beam_width, "rows_per_shard": rows_per_shard},
        "threads": threads,
        "seconds": seconds,
        "killed_seconds": disturbed,
        "kills": [asdict(kill) for kill in done],
        **asdict(found),
        "identical": found.identical,
    }
    return {"machine": machine(), "rows": [row]}


def _kill_often(
    run: Path,
    output: Path,
    options: dict[str, object],
    seconds: float,
    kills: int,
    tell: Callable[[str], None],
) -> list[Kill]:
    rng = np.random.default_rng(SEED)
    done = []
    for number in range(kills):
        tell(f"kill {number + 1} of {kills}")
        after = float(rng.uniform(0, 2 * seconds / kills))
        process = _start(run, output, options)
        try:
            process.communicate(timeout=after)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            half = len(list(output.glob(".*.part")))
            done.append(Kill(after, len(list(output.glob("part-*.parquet"))), half))
        else:
            break
    tell("the rest")
    _score(run, output, options)
    return done


def _score(run: Path, output: Path, options: dict[str, object]) -> float:
    began = time.perf_counter()
    process = _start(run, output, options)
    _, message = process.communicate()
    if process.returncode:
        raise MMGRecError("a job failed that nobody had killed", value=message.strip())
    return time.perf_counter() - began


def _start(run: Path, output: Path, options: dict[str, object]) -> subprocess.Popen[str]:
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "mmgrec", "score", str(run), "--output", str(output), *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def compare(expected: Path, found: Path) -> Comparison:
    """Compare two output folders by their files, and by the rows of their results."""
    names = sorted({*_files(expected), *_files(found)})
    hashes = [
        {name: sha256_of(folder / name) for name in _files(folder)} for folder in (expected, found)
    ]
    rows = [_rows(folder) for folder in (expected, found)]
    distinct = np.unique(rows[1])
    return Comparison(
        files=len(names),
        different=[name for name in names if hashes[0].get(name) != hashes[1].get(name)],
        rows=len(rows[1]),
        rows_lost=len(np.setdiff1d(rows[0], distinct, assume_unique=True)),
        rows_doubled=len(rows[1]) - len(distinct),
    )


def _files(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]


def _rows(folder: Path) -> NDArray[np.int64]:
    """Return one number per row of the results: of its user and its rank."""
    rows = pl.scan_parquet(folder / "part-*.parquet").select(
        pl.col("user").cast(pl.Int64) * 2**20 + pl.col("rank").cast(pl.Int64)
    )
    numbers: NDArray[np.int64] = rows.collect().to_series().to_numpy()
    return numbers


def score_kills_table(report: dict[str, Any]) -> Table:
    """Lay the report out for people."""
    (row,) = report["rows"]
    case, kills = row["case"], row["kills"]
    shards = -(-case["users"] // case["rows_per_shard"])
    table = Table(
        title=f"score, killed {len(kills)} times: {case['dataset']}, {case['users']:,} synthetic "
        f"users, best {case['k']}, {case['beam_width']} beams, {row['threads']} threads",
        title_justify="left",
        caption=f"undisturbed {row['seconds']:.0f} s, with kills and restarts "
        f"{row['killed_seconds']:.0f} s; {row['files']} files, {len(row['different'])} differ; "
        f"{row['rows']:,} rows, {row['rows_lost']} lost, {row['rows_doubled']} doubled",
        caption_justify="left",
    )
    for name in ("kill", "after s", f"files finished, of {shards}", "half written"):
        table.add_column(name, justify="right")
    for number, kill in enumerate(kills, 1):
        cells = (f"{kill['seconds']:.1f}", str(kill["finished"]), str(kill["half_written"]))
        table.add_row(str(number), *cells)
    return table
