"""`mmgrec bench serve`: throughput and latency against offered load, and what HTTP adds."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from rich.table import Table

from mmgrec.profiling.bench_schema import Report, Row, make_report
from mmgrec.profiling.serve_client import Client, Load
from mmgrec.profiling.serve_process import ServerProcess, server_process
from mmgrec.profiling.soak import copy_of
from mmgrec_engine.engine import Engine

WORKERS = (1, 2)
SHARES = (0.2, 0.5, 0.8, 0.95)
"""Offered load, of the highest throughput."""
CONNECTIONS = 32
K, BEAM_WIDTH = 10, 20
CALLS = 2_000
"""Of one user after the other, for what HTTP adds."""


def requests_of(histories: Sequence[Sequence[Any]], **more: object) -> list[bytes]:
    """Return whole HTTP requests, ready to be sent, in random order."""
    made = []
    for place in np.random.default_rng(0).permutation(len(histories)):
        history = histories[place]
        asked = {"histories": [history], "k": K, "beam_width": BEAM_WIDTH, **more}
        body = json.dumps(asked).encode()
        head = (
            "POST /v1/recommend HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        )
        made.append(head.encode() + body)
    return made


def bench_serve(
    run: Path, histories: list[list[Any]], seconds: float, tell: Callable[[str], None]
) -> Report:
    """Load servers of one and two workers; there is no roof to hold them against.

    Client and servers share the machine; requests are of one user each, for ten items with
    twenty beams.
    """
    return make_report({}, serve_rows(run, histories, seconds, tell))


def serve_rows(
    run: Path, histories: list[list[Any]], seconds: float, tell: Callable[[str], None]
) -> Iterator[Row]:
    """Yield the rows of all loads."""
    with copy_of(run) as copy:
        items = pl.scan_parquet(copy / "items.parquet").select(pl.len()).collect().item()
        for workers in WORKERS:
            case = {"items": items, "workers": workers, "beams": BEAM_WIDTH}
            with server_process(copy, workers) as server:
                client = Client(server.host, server.port, requests_of(histories))
                try:
                    tell(f"{workers} workers, warming up")
                    client.load(None, CONNECTIONS, 1.0)
                    if workers == 1:
                        tell("one request after the other")
                        yield _overhead(case, copy, client, histories)
                    yield from _against_load(case, server, client, seconds, tell)
                finally:
                    client.close()


def _against_load(
    case: Row, server: ServerProcess, client: Client, seconds: float, tell: Callable[[str], None]
) -> Iterator[Row]:
    workers = case["workers"]
    tell(f"{workers} workers, as fast as they answer")
    before = server.cpu_seconds()
    most = client.load(None, CONNECTIONS, seconds)
    yield _row(case | {"load": 1.0}, most, None, server, before)
    for share in SHARES:
        rate = share * most.rate
        tell(f"{workers} workers, {rate:,.0f} requests/s offered")
        before = server.cpu_seconds()
        load = client.load(rate, CONNECTIONS, seconds)
        yield _row(case | {"load": share}, load, rate, server, before)


def _row(
    case: Row, load: Load, rate: float | None, server: ServerProcess, cpu_before: float
) -> Row:
    return {
        "bench": "serve_load",
        "case": case | {"connections": CONNECTIONS},
        "backend": "native",
        **({} if rate is None else {"offered_per_s": round(rate, 1)}),
        "requests_per_s": load.rate,
        "median_s": load.quantile(0.5),
        "p99_s": load.quantile(0.99),
        "requests": len(load.seconds),
        "failed": load.failed,
        "cpu_s_per_request": (server.cpu_seconds() - cpu_before) / max(1, len(load.seconds)),
        "memory_bytes": server.memory(),
    }


def _overhead(case: Row, run: Path, client: Client, histories: list[list[Any]]) -> Row:
    """Compare one request after the other with as many engine calls in this process."""
    engine = Engine.load(run, threads=1)
    seconds = []
    for place in range(CALLS):
        history = histories[place % len(histories)]
        begin = time.perf_counter()
        engine.recommend([history], k=K, beam_width=BEAM_WIDTH)
        seconds.append(time.perf_counter() - begin)
    load = client.load(None, 1, max(1.0, CALLS * 1e-3))
    baseline = float(np.median(seconds))
    return {
        "bench": "serve_load",
        "case": case | {"connections": 1},
        "backend": "native",
        "requests_per_s": load.rate,
        "median_s": load.quantile(0.5),
        "p99_s": load.quantile(0.99),
        "failed": load.failed,
        "baseline": "Engine.recommend",
        "baseline_median_s": baseline,
        "overhead_s": load.quantile(0.5) - baseline,
    }


def serve_tables(report: Report) -> Iterator[Table]:
    """Lay the rows out for people."""
    table = Table(title="one user per request, client on the same machine", title_justify="left")
    for name in ("workers", "connections", "offered/s", "answered/s", "p50 ms", "p99 ms"):
        table.add_column(name, justify="right")
    for name in ("failed", "CPU ms/request"):
        table.add_column(name, justify="right")
    for row in report["rows"]:
        case = row["case"]
        offered = row.get("offered_per_s")
        table.add_row(
            str(case["workers"]),
            str(case["connections"]),
            "all it takes" if offered is None else f"{offered:,.0f}",
            f"{row['requests_per_s']:,.0f}",
            *(f"{row[name] * 1e3:.2f}" for name in ("median_s", "p99_s")),
            str(sum(row["failed"].values())),
            f"{row['cpu_s_per_request'] * 1e3:.2f}" if "cpu_s_per_request" in row else "",
        )
        if "overhead_s" in row:
            engine = f"{row['baseline_median_s'] * 1e3:.2f}"
            adds = f"{row['overhead_s'] * 1e3:.2f}"
            table.caption = f"Engine.recommend alone: {engine} ms, so HTTP adds {adds} ms"
    yield table
