"""`mmgrec serve` as its own process: signals, time limits, workers, memory."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from mmgrec.cli.main import app
from mmgrec.serving import workers
from mmgrec.serving.options import FAILED_TO_LOAD, ServeOptions
from mmgrec_engine.errors import MMGRecError
from serving_world import (
    BEARER,
    COMMAND,
    RealServer,
    copy_run,
    real_server,
    recommend,
    vector,
    wait_until,
)

BODY = json.dumps({"histories": [["i01"]]}).encode()


@pytest.fixture(scope="module")
def run(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_run(run_folder, tmp_path_factory.mktemp("server") / "run")


@pytest.fixture(scope="module")
def server(run: Path) -> Iterator[RealServer]:
    with real_server(run, "--body-seconds", 0.5, "--body-bytes", 100_000) as server:
        yield server


def connection(server: RealServer, text: bytes) -> socket.socket:
    """Open a connection and send the beginning of a request."""
    url = httpx.URL(server.url)
    made = socket.create_connection((url.host, url.port or 80), timeout=30)
    made.sendall(text)
    return made


def head(length: int) -> bytes:
    return b"POST /v1/recommend HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % length


def status_of(made: socket.socket) -> int:
    return int(made.makefile("rb").readline().split()[1])


def test_a_request_is_logged_with_its_id_and_trace(server: RealServer) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"x-request-id": "mine-1", "traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    answer = httpx.post(f"{server.url}/v1/recommend", content=BODY, headers=headers)
    assert answer.headers["x-request-id"] == "mine-1"
    assert answer.headers["traceparent"].split("-")[1] == trace
    line = server.wait_for("request", request_id="mine-1")
    assert line["trace_id"] == trace
    assert line["parent_id"] == "00f067aa0ba902b7"
    assert line["status"] == 200
    assert line["users"] == line["batch_users"] == 1
    assert 0 <= line["queue_ms"] <= line["total_ms"]
    assert 0 < line["compute_ms"] <= line["total_ms"]


def test_slow_bodies_and_heads_are_408_and_others_are_served(server: RealServer) -> None:
    slow = [
        connection(server, head(len(BODY)) + BODY[:5]),
        connection(server, b"POST /v1/recommend HTTP/1.1\r\nhost: x\r\n"),
        connection(server, b""),
    ]
    assert recommend(server.url, histories=[["i01"]]).status_code == 200
    for each in slow:
        with each:
            assert status_of(each) == 408


def test_bodies_that_are_too_long_are_413(server: RealServer) -> None:
    with connection(server, head(10**12)) as made:
        assert status_of(made) == 413
    chunked = head(0).replace(b"content-length: 0", b"transfer-encoding: chunked")
    with connection(server, chunked + b"%x\r\n" % 200_000 + b"1" * 200_000 + b"\r\n") as made:
        assert status_of(made) == 413
    with connection(server, b"\x16\x03\x01 no HTTP\r\n\r\n") as made:
        assert status_of(made) == 400
    assert recommend(server.url, histories=[["i01"]]).status_code == 200


def test_sigterm_answers_what_is_under_way_and_ends_with_0(run: Path) -> None:
    with real_server(run) as server:
        with connection(server, head(len(BODY)) + BODY[:5]) as made:
            idle = connection(server, b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n\r\n")
            assert status_of(idle) == 200
            server.kill(signal.SIGTERM)
            server.wait_for("Waiting for connections to close. (CTRL+C to force quit)")
            with pytest.raises(httpx.ConnectError):
                httpx.get(f"{server.url}/v2/health/live")
            made.sendall(BODY[5:])
            assert status_of(made) == 200
        assert server.end() == 0


def test_sighup_reloads(run: Path) -> None:
    with real_server(run) as server:
        server.kill(signal.SIGHUP)
        server.wait_for("a model is in use")
        assert recommend(server.url, histories=[["i01"]]).status_code == 200


def test_two_workers_edit_reload_and_count_as_one(run_folder: Path, tmp_path: Path) -> None:
    run = copy_run(run_folder, tmp_path / "run")
    with real_server(run, workers=2) as server:
        with httpx.Client(base_url=server.url, headers=BEARER) as first:
            # Connections go to either worker; edits are seen at once where they were made.
            for turn in range(6):
                with httpx.Client(base_url=server.url, headers=BEARER) as client:
                    body = {"ids": [f"n{turn}"], "vectors": [vector(turn)]}
                    answer = client.post("/v1/items", json=body, timeout=60)
                    assert answer.status_code == 200, answer.text
                    assert client.get(f"/v1/items/n{turn}").json()["live"]
            assert first.delete("/v1/items/n9").status_code == 422
            assert first.put("/v1/filters/few", json={"ids": ["n0", "n1"]}).is_success

        def everywhere() -> bool:
            for _ in range(8):
                found = recommend(server.url, histories=[["i01"]], where="few")
                if found.status_code != 200:
                    return False
                if set(found.json()["results"][0]["items"]) != {"n0", "n1"}:
                    return False
            return True

        wait_until(everywhere)
        server.kill(signal.SIGHUP)
        server.wait_for("a model is in use", 2)
        assert everywhere()
        text = httpx.get(f"{server.url}/metrics").text
        assert 'mmgrec_edited_items_total{kind="insert"} 6.0' in text
        assert "mmgrec_ready_workers 2.0" in text
        assert {entry["worker"] for entry in server.seen} == {0, 1}
        numbers = {e["pid"]: e["worker"] for e in server.seen if "pid" in e}
        assert sorted(numbers.values()) == [0, 1]
        # A worker that dies is replaced; edits go on once it is back.
        editor = next(process for process, number in numbers.items() if number == 0)
        subprocess.run(["kill", "-KILL", str(editor)], check=True)
        server.wait_for("a model is in use", worker=0)
        assert httpx.delete(f"{server.url}/v1/items/n0", headers=BEARER, timeout=60).is_success
        server.kill(signal.SIGTERM)
        assert server.end() == 0


def test_workers_share_weights_and_trie(run: Path) -> None:
    with real_server(run, workers=2) as server:
        assert recommend(server.url, histories=[["i01"]]).status_code == 200
        for process in {entry["pid"] for entry in server.seen if "pid" in entry}:
            maps = Path(f"/proc/{process}/maps").read_text()
            for name in ("model.safetensors", "trie.bin"):
                lines = [line for line in maps.splitlines() if line.endswith(f"/{name}")]
                assert lines, name
                assert all(line.split()[1].startswith("r-") for line in lines)


def test_it_runs_without_torch(run: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['torch'] = None\n")
    with real_server(run, env={"PYTHONPATH": str(tmp_path)}) as server:
        assert recommend(server.url, histories=[["i01"]]).status_code == 200
        body = {"ids": ["t0"], "vectors": [vector(0)]}
        assert httpx.post(f"{server.url}/v1/items", json=body, headers=BEARER).is_success
        assert httpx.delete(f"{server.url}/v1/items/t0", headers=BEARER).is_success


@pytest.mark.parametrize("count", [1, 2])
def test_a_model_that_cannot_be_loaded_ends_the_server(
    run_folder: Path, tmp_path: Path, count: int
) -> None:
    mixed = copy_run(run_folder, tmp_path / "mixed")
    shutil.copytree(mixed, mixed / "catalog")
    done = subprocess.run(
        [*COMMAND, str(mixed), "--port", "0", "--workers", str(count)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 2, done.stderr
    assert "the model could not be loaded" in done.stderr
    assert "Traceback" not in done.stderr


class Ended:
    """A worker process that has ended so; None: it goes on."""

    pid = 7

    def __init__(self, exitcode: int | None) -> None:
        self.exitcode = exitcode

    def is_alive(self) -> bool:
        return self.exitcode is None


def test_a_refused_artifact_ends_only_a_server_that_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_PAUSE", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = workers._Workers(ServeOptions(tmp_path, workers=2), listener, tmp_path)
        started: list[int] = []
        monkeypatch.setattr(server, "_start", started.append)
        server._processes = {0: Ended(None), 1: Ended(-9)}
        assert server._replace_dead() == 0  # killed, so replaced
        server._processes[1] = Ended(FAILED_TO_LOAD)
        assert server._replace_dead() == 0  # worker 0 serves what it has
        assert started == [1, 1]
        assert not server._stopping
        server._processes[0] = Ended(FAILED_TO_LOAD)  # at its first start
        assert server._replace_dead() == FAILED_TO_LOAD
        assert server._stopping
        server._editor.close()


def test_workers_keep_the_filters_of_the_run_they_began_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[ServeOptions] = []

    def serve(options: ServeOptions, *_: object) -> int:
        seen.append(options)
        return 0

    monkeypatch.setattr("mmgrec.serving.server.serve", serve)
    (tmp_path / "first").mkdir()
    (tmp_path / "current").symlink_to("first")
    with socket.socket() as listener:
        assert workers.run_server(ServeOptions(tmp_path / "current"), listener) == 0
    assert seen[0].run == tmp_path / "current"
    assert seen[0].filters == tmp_path / "first" / "filters"


def test_a_supervisor_has_nothing_of_what_serves() -> None:
    heavy = "{'fastapi', 'numpy', 'polars', 'uvicorn', 'mmgrec_engine._native'}"
    code = (
        f"import sys, mmgrec.cli.serve, mmgrec.serving.workers; print({heavy} & {{*sys.modules}})"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


def test_what_cannot_be_served_is_a_message(run: Path, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("\n")
    (tmp_path / "umlaut").write_text("geh\u00e4im")
    (tmp_path / "lines").write_text("one\ntwo\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for words, part in (
            (["nowhere"], "not a folder"),
            ([str(run), "--port", port], "cannot listen"),
            ([str(run), "--host", "no.such.host.invalid"], "cannot listen"),
            ([str(run), "--token-file", str(tmp_path / "none")], "cannot read"),
            ([str(run), "--token-file", str(tmp_path / "token")], "holds no token"),
            ([str(run), "--token-file", str(tmp_path / "umlaut")], "a header can carry"),
            ([str(run), "--token-file", str(tmp_path / "lines")], "a header can carry"),
        ):
            done = CliRunner().invoke(app, ["serve", *words])
            assert isinstance(done.exception, MMGRecError)
            assert part in str(done.exception)


def test_a_missing_package_names_the_extra(run: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['fastapi'] = None\n")
    done = subprocess.run(
        [*COMMAND, str(run)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin"},
    )
    assert done.returncode == 2
    assert "mmgrec-engine[serve]" in done.stderr
