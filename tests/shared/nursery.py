"""Children that are killed at work: a light process that forks them, and its end in the tests.

A script calls `serve_commands`; a test talks to it with a `Nursery`. Forking from a process that
has imported everything and computed nothing takes milliseconds, so that a test can kill many.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


class Nursery:
    """Runs the commands of a script, one child each."""

    def __init__(self, script: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, command: str, kill_after: float | None = None) -> tuple[list[str], int]:
        """Return what a child said and its exit code; kill it so long after its first word."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        pid, said = 0, list[str]()
        for line in iter(self._process.stdout.readline, ""):
            word, _, rest = line.strip().partition(" ")
            if word == "end":
                return said, int(rest)
            if word == "pid":
                pid = int(rest)
            else:
                said.append(line.strip())
            if pid and said and kill_after is not None:
                time.sleep(kill_after)
                os.kill(pid, signal.SIGKILL)
                kill_after = None
        raise AssertionError("the nursery has died")

    def close(self) -> None:
        """Let it end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)


def serve_commands(commands: Mapping[str, Callable[..., object]]) -> None:
    """Fork a child for every line of standard input: the name of a command and its words."""
    for line in sys.stdin:
        name, *words = line.split()
        child = os.fork()
        if child == 0:
            try:
                commands[name](*words)
            finally:
                os._exit(1 if sys.exc_info()[0] else 0)
        say(f"pid {child}")
        say(f"end {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}")


def say(text: object) -> None:
    """Tell the test something, in one call to the system, so that lines do not mix."""
    os.write(1, f"{text}\n".encode())


def die_at_call(number: int) -> None:
    """Die, with code 9, before the call of this number that changes the disk; 0 is the first."""
    left = [number]

    def count() -> None:
        if left[0] == 0:
            os._exit(9)
        left[0] -= 1

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            count()
            return function(*args, **kwargs)

        return call

    def open_counted(path: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        if set(mode) & set("wax+"):
            count()
        return opened(path, mode, *args, **kwargs)

    # What Path does, but for opening, goes through these.
    os.replace, os.fsync, os.rmdir = counted(os.replace), counted(os.fsync), counted(os.rmdir)
    os.unlink, os.mkdir = counted(os.unlink), counted(os.mkdir)
    opened, Path.open = Path.open, open_counted  # type: ignore[method-assign]
