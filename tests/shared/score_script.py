"""A process that forks a light child per scoring job, to be killed (nothing to warm up in it).

Commands on standard input, one job each:

    run RUN INPUT OUTPUT ROWS_PER_SHARD BATCH_USERS THREADS   prints "begun", then scores
    die CALLS RUN INPUT OUTPUT ...                            dies before its n-th call to the disk
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from mmgrec.scoring.job import Job, LocalRunner, score
from mmgrec.scoring.settings import OnError, ScoreSettings

SETTINGS = ScoreSettings(k=5, beam_width=20)


def _say(text: object) -> None:
    os.write(1, f"{text}\n".encode())


def _die_at(calls: int) -> None:
    left = [calls]

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            if left[0] == 0:
                os._exit(9)
            left[0] -= 1
            return function(*args, **kwargs)

        return call

    os.replace, os.fsync = counted(os.replace), counted(os.fsync)
    Path.unlink, Path.mkdir = counted(Path.unlink), counted(Path.mkdir)  # type: ignore[method-assign]


def job_of(run: str, table: str, output: str, rows_per_shard: str, batch_users: str) -> Job:
    """The job of a command."""
    numbers = (int(rows_per_shard), int(batch_users))
    return Job(Path(run), Path(table), Path(output), SETTINGS, *numbers, on_error=OnError.skip)


def main() -> None:
    """Serve the commands."""
    for line in sys.stdin:
        command, *words = line.split()
        child = os.fork()
        if child == 0:
            try:
                if command == "die":
                    _die_at(int(words.pop(0)))
                _say("begun")
                score(job_of(*words[:5]), LocalRunner(int(words[5])), Console(quiet=True))
            finally:
                os._exit(1 if sys.exc_info()[0] else 0)
        _say(f"pid {child}")
        _say(f"end {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}")


if __name__ == "__main__":
    main()
