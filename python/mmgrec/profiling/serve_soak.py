"""`mmgrec bench serve --soak`: a server under load for long, with reloads and edits going on."""

from __future__ import annotations

import json
import os
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from mmgrec.profiling.environment import machine
from mmgrec.profiling.serve_client import Client, Load
from mmgrec.profiling.serve_load import BEAM_WIDTH, CONNECTIONS, requests_of
from mmgrec.profiling.serve_process import TOKEN, ServerProcess, server_process
from mmgrec.profiling.soak import SAMPLES, copy_of
from mmgrec_engine.artifact import MANIFEST
from mmgrec_engine.engine import Engine

SHARE = 0.8
"""Of the highest throughput."""
EDIT_SECONDS, RELOAD_SECONDS = 0.2, 5.0
EDITED_ITEMS = 100
"""Replaced over and over, so that what the catalogue holds soon stays the same: every item that was
replaced keeps its vector on disk and in memory, which is growth that was asked for."""
MEASURE_SECONDS = 30.0
"""How long the highest throughput is measured, two reloads included."""
DEADLINE_MS = 10_000
SLOW_SECONDS = 0.2
"""What 99 % of the requests of a second should stay below, reloads or not."""


class Disturber:
    """Edits and reloads while others ask."""

    def __init__(self, server: ServerProcess, run: Path) -> None:
        engine = Engine.load(run)
        self._server, self._run = server, run
        ids, self._width = engine.items["item"].to_list(), engine.item_width
        self._ids = ids[:: -(-len(ids) // EDITED_ITEMS)]
        self._new: Any = max(ids) + 1 if engine.item_ids.type is int else "a new item"
        self._rng = np.random.default_rng(0)
        self.edits, self.reloads = 0, 0
        self.failed: list[str] = []

    def edit(self) -> None:
        """Replace an item's vector, or have a new item come and, next time, go."""
        turn = self.edits % 3
        if turn == 0:
            item = self._ids[int(self._rng.integers(len(self._ids)))]
            self._send("POST", "/v1/items", self._item(item, replace=True))
        elif turn == 1:
            self._send("POST", "/v1/items", self._item(self._new))
        else:
            self._send("DELETE", "/v1/items", {"ids": [self._new]})
        self.edits += 1

    def reload(self) -> None:
        """Have the same artifact look as if it was written again; every worker loads it anew."""
        os.utime(self._run / MANIFEST)
        self.reloads += 1

    def _item(self, item: object, **more: object) -> dict[str, Any]:
        vector = self._rng.normal(size=self._width)
        return {"ids": [item], "vectors": [(vector / np.linalg.norm(vector)).tolist()], **more}

    def _send(self, method: str, path: str, body: object) -> None:
        request = urllib.request.Request(
            self._server.url + path,
            json.dumps(body).encode(),
            {"authorization": f"Bearer {TOKEN}"},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                answer.read()
        except OSError as error:
            self.failed.append(f"{method} {path}: {error}")


def soak_serve(
    run: Path,
    histories: list[list[Any]],
    minutes: float,
    workers: int,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """Load a server for so long; return ``machine`` and one row.

    ::

        five edits a second, a reload every five seconds, all the time
        highest throughput, measured for half a minute -> 80 % of it, offered for the rest
        memory now and then: medians of its second and its last third, since a sample that meets a
        reload counts two models
    """
    requests = requests_of(histories, deadline_ms=DEADLINE_MS)
    with copy_of(run) as copy, server_process(copy, workers) as server:
        client = Client(server.host, server.port, requests)
        try:
            client.load(None, CONNECTIONS, 1.0)
            disturber = Disturber(server, copy)
            short = min(MEASURE_SECONDS, minutes * 60)
            most, _ = _disturbed(server, client, disturber, None, short, tell)
            rate = SHARE * most.rate
            load, memory = _disturbed(server, client, disturber, rate, minutes * 60, tell)
        finally:
            client.close()
    return {"machine": machine(), "rows": [_row(load, rate, workers, disturber, memory)]}


def _disturbed(
    server: ServerProcess,
    client: Client,
    disturber: Disturber,
    rate: float | None,
    seconds: float,
    tell: Callable[[str], None],
) -> tuple[Load, list[dict[str, int]]]:
    """Load the server for so long while others edit and reload; return the memory as well."""
    answer = client.begin(rate, CONNECTIONS, seconds)
    memory = list(_disturb(server, disturber, seconds, tell))
    return answer.result(), memory


def _disturb(
    server: ServerProcess, disturber: Disturber, seconds: float, tell: Callable[[str], None]
) -> Iterator[dict[str, int]]:
    """Edit and reload until the time is over; yield the memory so often."""
    begin = time.monotonic()
    edit, reload, sample = begin, begin + RELOAD_SECONDS / 2, begin + seconds / SAMPLES
    while (now := time.monotonic()) < begin + seconds:
        if now >= edit:
            disturber.edit()
            edit += EDIT_SECONDS
        if now >= reload:
            disturber.reload()
            reload += RELOAD_SECONDS
        if now >= sample:
            memory = server.memory()
            yield memory
            sample += seconds / SAMPLES
            megabytes = memory["proportional"] / 1e6
            tell(f"{now - begin:,.0f} of {seconds:,.0f} s, {megabytes:,.0f} MB")
        time.sleep(max(0.0, min(edit, reload, sample) - time.monotonic()))


def _row(
    load: Load, rate: float, workers: int, disturber: Disturber, memory: list[dict[str, int]]
) -> dict[str, Any]:
    bytes_ = [sample["proportional"] for sample in memory]
    before, after = _thirds(bytes_)
    return {
        "bench": "serve_load",
        "case": {
            "workers": workers,
            "connections": CONNECTIONS,
            "beams": BEAM_WIDTH,
            "offered_per_s": round(rate, 1),
            "seconds": round(load.wall_seconds, 1),
        },
        "backend": "native",
        "requests": len(load.seconds),
        "requests_per_s": load.rate,
        "median_s": load.quantile(0.5),
        "p99_s": load.quantile(0.99),
        "max_s": load.quantile(1.0),
        "slow_seconds": load.slow_seconds(SLOW_SECONDS),
        "failed": load.failed,
        "edits": disturber.edits,
        "failed_edits": disturber.failed,
        "reloads": disturber.reloads,
        "memory_bytes": bytes_,
        "growth_bytes": after - before,
    }


def _thirds(memory: list[int]) -> tuple[int, int]:
    """Return the medians of the second and of the last third; the first is warm-up."""
    third = len(memory) // 3
    parts = memory[third : 2 * third] or memory, memory[2 * third :]
    before, after = (int(np.median(part)) if part else 0 for part in parts)
    return before, after


def soak_serve_table(report: dict[str, Any]) -> Table:
    """Lay the run out for people."""
    table = Table(title="soak over HTTP", title_justify="left")
    table.add_column("")
    table.add_column("", justify="right")
    for row in report["rows"]:
        before, after = _thirds(row["memory_bytes"])
        for name, value in (
            ("seconds", f"{row['case']['seconds']:,.0f}"),
            ("workers", str(row["case"]["workers"])),
            ("offered/s", f"{row['case']['offered_per_s']:,.0f}"),
            ("requests", f"{row['requests']:,}"),
            ("failed", f"{sum(row['failed'].values())} {row['failed'] or ''}"),
            ("p50 / p99 / max ms", _milliseconds(row)),
            (f"seconds with p99 over {SLOW_SECONDS * 1e3:.0f} ms", f"{row['slow_seconds']:,}"),
            ("edits, failed", f"{row['edits']:,}, {len(row['failed_edits'])}"),
            ("reloads", str(row["reloads"])),
            ("MB in the second third", f"{before / 1e6:,.1f}"),
            ("MB in the last third", f"{after / 1e6:,.1f}"),
        ):
            table.add_row(name, value)
    return table


def _milliseconds(row: dict[str, Any]) -> str:
    return " / ".join(f"{row[name] * 1e3:.3g}" for name in ("median_s", "p99_s", "max_s"))
