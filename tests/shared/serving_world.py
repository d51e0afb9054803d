"""Servers to test: an app in this process, or `mmgrec serve` in its own."""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from starlette.testclient import TestClient

from mmgrec.serving.app import make_app
from mmgrec.serving.options import ServeOptions, Worker

TOKEN = "a token of the tests"
BEARER = {"authorization": f"Bearer {TOKEN}"}
PATIENCE = 240.0
"""Seconds after which something is taken to never come; a busy machine is slow to start servers."""

COMMAND = [sys.executable, "-c", "from mmgrec.cli.main import main; main()", "serve"]


def copy_run(run: Path, folder: Path) -> Path:
    """Copy what is served of a run, so that it can be changed."""
    shutil.copytree(run, folder, ignore=shutil.ignore_patterns("training", "tokenizer", "catalog"))
    return folder


@contextmanager
def client_of(run: Path, **options: Any) -> Iterator[TestClient]:  # noqa: ANN401
    """Serve in this process; the model is loaded when the client is handed out."""
    options = {"token": TOKEN, "follow_seconds": 0.02, "deadline_ms": 60_000.0, **options}
    app = make_app(ServeOptions(run, **options), Worker())
    with TestClient(app, raise_server_exceptions=False) as client:
        wait_until(lambda: app.state.serving.models.current or app.state.serving.models.error)
        yield client


def wait_until(condition: Any, seconds: float = PATIENCE) -> None:  # noqa: ANN401
    """Look until it is so; fail where it never is."""
    stop = threading.Event()
    for _ in range(int(seconds / 0.01)):
        if condition():
            return
        stop.wait(0.01)
    raise AssertionError("it never came true")


def vector(seed: int, width: int = 16) -> list[float]:
    """A random item vector of length 1."""
    values = np.random.default_rng(seed).normal(size=width)
    return (values / np.linalg.norm(values)).tolist()


class RealServer:
    """`mmgrec serve` in a process of its own; ``events``: its log, line by line."""

    def __init__(self, run: Path, *words: object, env: dict[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, str(run), "--port", "0", *map(str, words)],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "MMGREC_SERVE_TOKEN": TOKEN, **(env or {})},
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        self.seen: list[dict[str, Any]] = []
        threading.Thread(target=self._read, daemon=True).start()
        try:
            first = self._lines.get(timeout=PATIENCE)
        except BaseException:
            self.process.kill()
            raise
        assert first is not None
        self.url = first.split()[-1]

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._lines.put(line.strip())
        self._lines.put(None)

    def wait_for(self, event: str, count: int = 1, **fields: object) -> dict[str, Any]:
        """Read the log until an event was there so often."""
        while True:
            line = self._lines.get(timeout=PATIENCE)
            assert line is not None, f"the server ended before {event!r}: {self.seen}"
            if not line.startswith("{"):
                continue
            entry = json.loads(line)
            self.seen.append(entry)
            if entry["event"] == event and fields.items() <= entry.items():
                count -= 1
                if count == 0:
                    return entry

    def kill(self, number: int) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def end(self) -> int:
        """Wait for its end."""
        return self.process.wait(timeout=PATIENCE)


@contextmanager
def real_server(run: Path, *words: object, workers: int = 1, **more: Any) -> Iterator[RealServer]:  # noqa: ANN401
    """Start a server, hand it out when all its workers are ready, and stop it."""
    server = RealServer(run, *words, "--workers", workers, **more)
    try:
        server.wait_for("a model is in use", workers)
        yield server
    finally:
        if server.process.poll() is None:
            server.kill(signal.SIGTERM)
            server.end()


def recommend(url: str, **body: object) -> httpx.Response:
    """Ask a server."""
    return httpx.post(f"{url}/v1/recommend", json=body, timeout=60)
