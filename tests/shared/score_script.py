"""A process that forks a child per scoring job, to be killed; see `nursery`.

run RUN INPUT OUTPUT ROWS_PER_SHARD BATCH_USERS THREADS   says "begun", then scores
die CALLS RUN INPUT OUTPUT ...                            dies before its n-th call to the disk
"""

from __future__ import annotations

from pathlib import Path

from nursery import die_at_call, say, serve_commands
from rich.console import Console

from mmgrec.scoring.job import Job, LocalRunner, score
from mmgrec.scoring.settings import OnError, ScoreSettings

SETTINGS = ScoreSettings(k=5, beam_width=20)


def job_of(run: str, table: str, output: str, rows_per_shard: str, batch_users: str) -> Job:
    """The job of a command."""
    numbers = (int(rows_per_shard), int(batch_users))
    return Job(Path(run), Path(table), Path(output), SETTINGS, *numbers, on_error=OnError.skip)


def _run(*words: str) -> None:
    *job, threads = words
    say("begun")
    score(job_of(*job), LocalRunner(int(threads)), Console(quiet=True))


def _die(calls: str, *words: str) -> None:
    die_at_call(int(calls))
    _run(*words)


if __name__ == "__main__":
    serve_commands({"run": _run, "die": _die})
