"""A server to measure: `mmgrec serve` in processes of its own, and their memory."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from mmgrec_engine.errors import ConfigError

TOKEN_FILE = "token"
TOKEN = "bench"
_START_SECONDS = 120.0
_READY, _ENDED = "a model is in use", "ended: "


@dataclass(frozen=True)
class ServerProcess:
    """A running server."""

    host: str
    port: int
    process: subprocess.Popen[str]

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://{self.host}:{self.port}"

    def memory(self) -> dict[str, int]:
        """Return bytes of all its processes together, from smaps (Linux).

        ``resident``: as if each had its own copy; ``proportional``: shared pages counted once;
        ``private``: what no other process has.
        """
        total = {"resident": 0, "proportional": 0, "private": 0}
        names = {"Rss": "resident", "Pss": "proportional"}
        names |= {"Private_Clean": "private", "Private_Dirty": "private"}
        for pid in _family(self.process.pid):
            try:
                lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
            except OSError:
                continue  # it has ended
            for line in lines:
                name, value = line.split(":", 1)
                if name in names:
                    total[names[name]] += int(value.split()[0]) * 1024
        return total

    def cpu_seconds(self) -> float:
        """Return the processor time that all its processes have taken so far."""
        ticks = 0
        for pid in _family(self.process.pid):
            with suppress(OSError):  # it has ended
                # After the name in parentheses, which may hold anything: utime and stime.
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")


@contextmanager
def server_process(run: Path, workers: int, *words: str) -> Iterator[ServerProcess]:
    """Start a server on a free port, hand it out when all workers are ready, and stop it.

    Raises
    ------
    ConfigError
        It ended before, or took two minutes.
    """
    token = run.parent / TOKEN_FILE
    token.write_text(TOKEN)
    # -P: what lies in the folder that somebody works in is not what is to be measured.
    command = [sys.executable, "-P", "-m", "mmgrec", "serve", str(run)]
    options = ["--port", "0", "--workers", str(workers), "--token-file", str(token), *words]
    process = subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True)
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_read, args=(process, lines), daemon=True).start()
    try:
        address = _wait(lines, workers)
        host, _, port = address.rpartition(":")
        yield ServerProcess(host, int(port), process)
    finally:
        process.terminate()
        process.wait()


def _read(process: subprocess.Popen[str], lines: queue.Queue[str]) -> None:
    """Pass on what tells of a start, and the last words; read the rest, or the pipe fills up."""
    assert process.stderr is not None
    last: deque[str] = deque(maxlen=8)
    for line in process.stderr:
        last.append(line.strip())
        if _READY in line or "http://" in line:
            lines.put(line)
    lines.put(_ENDED + " ".join(last))


def _wait(lines: queue.Queue[str], workers: int) -> str:
    address = ""
    for _ in range(workers + 1):
        try:
            line = lines.get(timeout=_START_SECONDS)
        except queue.Empty:
            line = f"{_ENDED}nothing for {_START_SECONDS:.0f} s"
        if line.startswith(_ENDED):
            raise ConfigError(
                "the server to be measured did not start",
                value=line.removeprefix(_ENDED),
                remedy="see what mmgrec serve RUN says",
            )
        if "http://" in line:
            address = line.split("http://")[-1].strip()
    return address


def _family(pid: int) -> list[int]:
    """Return a process and those below it."""
    found = [pid]
    for parent in found:
        for thread in Path(f"/proc/{parent}/task").glob("*/children"):
            with suppress(OSError):  # it has ended
                found += map(int, thread.read_text().split())
    return found
