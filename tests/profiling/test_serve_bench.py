"""What loads a server counts what came back; how fast it was decides nothing here."""

from __future__ import annotations

import asyncio
import shutil
from array import array
from collections.abc import Callable
from pathlib import Path

import pytest

from mmgrec.profiling.serve_client import Load, _Loader
from mmgrec.profiling.serve_load import requests_of, serve_tables
from mmgrec.profiling.serve_process import server_process
from mmgrec.profiling.serve_soak import _thirds, soak_serve, soak_serve_table
from mmgrec_engine.errors import ConfigError

Answer = Callable[[int], bytes | None]


def load(answer: Answer, rate: float | None, connections: int = 2) -> Load:
    """Load a server that answers its n-th request so; None: it hangs up."""
    count = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        while head := await reader.readline():
            while (line := await reader.readline()) != b"\r\n":
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            await reader.readexactly(length)
            assert head.startswith(b"POST /v1/recommend ")
            count += 1
            text = answer(count)
            if text is None:
                break
            writer.write(text[:20])
            await writer.drain()
            writer.write(text[20:])
        writer.close()

    async def main() -> Load:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            return await _Loader("127.0.0.1", port, requests_of([[1], [2, 3]])).run(
                rate, connections, 0.3
            )

    return asyncio.run(main())


def good(_: int) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine"


def test_a_closed_loop_asks_again_when_it_is_answered() -> None:
    done = load(good, None)
    assert done.failed == {}
    assert len(done.seconds) > 2
    assert done.rate == pytest.approx(len(done.seconds) / done.wall_seconds)
    assert 0 < done.quantile(0.5) <= done.quantile(0.99)


def test_an_open_loop_offers_what_was_wanted_and_ends() -> None:
    done = load(good, 100.0)
    assert 10 <= len(done.seconds) <= 60  # 30 on average, as chance has it
    assert done.num_failed == 0


def test_bad_answers_and_lost_connections_are_counted() -> None:
    def answer(count: int) -> bytes | None:
        if count % 3 == 1:
            return b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\n\r\n"
        return None if count % 3 == 2 else good(count)

    done = load(answer, None, connections=1)
    assert done.failed["429"] >= 1
    assert done.failed["ConnectionResetError"] >= 1
    assert abs(done.failed["429"] - len(done.seconds)) <= 1


def test_slow_seconds_are_those_with_a_slow_hundredth() -> None:
    took = [0.01] * 99 + [0.5] * 2 + [0.01] * 300 + [0.5]
    due = [0.5] * 101 + [1.5] * 301
    done = Load(2.0, array("d", took), array("d", due))
    assert done.slow_seconds(0.2) == 1
    assert done.slow_seconds(0.005) == 2
    assert Load(1.0).slow_seconds(0.2) == 0


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigError, match="not a folder"),
        server_process(tmp_path / "nothing", 1),
    ):
        pass


def test_growth_is_told_after_warm_up_and_past_reloads() -> None:
    warm_up, reload = [10, 50, 90], 140
    assert _thirds([*warm_up, 100, reload, 100, 103, 103, reload]) == (100, 103)
    assert _thirds([7]) == (7, 7)
    assert _thirds([]) == (0, 0)


def test_a_short_soak_loses_nothing(run_folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(run_folder, run)
    report = soak_serve(run, [["i01", "i03"], ["i02"]], 0.05, 1, lambda _: None)
    (row,) = report["rows"]
    assert row["requests"] > 0
    assert row["failed"] == {}
    assert row["failed_edits"] == []
    assert 0 <= row["slow_seconds"] <= 4
    assert row["edits"] > 0
    assert row["reloads"] > 0
    assert len(row["memory_bytes"]) > 3
    assert soak_serve_table(report).row_count > 5
    case = {"workers": 1, "connections": 1, "beams": 20}
    rows = [{**row, "case": case, "overhead_s": 1e-3, "baseline_median_s": 1e-3}]
    (table,) = serve_tables({"rows": rows})
    assert "HTTP adds 1.00 ms" in str(table.caption)
