"""What a job says while it runs: a bar on a terminal, now and then a line in a log."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

SECONDS_PER_LINE = 30.0


class JobProgress:
    """Users scored so far; make it with `progress_of`."""

    def __init__(self, console: Console, total: int, done: int) -> None:
        self._console, self._total, self._done = console, total, done
        self._began = self._told = time.monotonic()
        self._new = 0
        self._bar: Progress | None = None

    @property
    def rate(self) -> float:
        """Users per second of this run."""
        return self._new / max(time.monotonic() - self._began, 1e-9)

    def advance(self, users: int) -> None:
        """Count users whose results are on their way to disk."""
        self._new += users
        if self._bar is not None:
            note = f"{self.rate:,.0f} users/s"
            self._bar.update(self._bar.task_ids[0], advance=users, note=note)
        elif time.monotonic() - self._told >= SECONDS_PER_LINE:
            self._told = time.monotonic()
            self._console.print(self._line(), highlight=False)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show a bar meanwhile, where there is a terminal."""
        if not self._console.is_terminal:
            yield
            return
        columns = (
            TextColumn("scoring"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:,} of {task.total:,} users"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=self._console) as self._bar:
            self._bar.add_task("scoring", total=self._total, completed=self._done, note="")
            yield

    def _line(self) -> str:
        done = self._done + self._new
        left = (self._total - done) / max(self.rate, 1e-9)
        return (
            f"{done:,} of {self._total:,} users ({done / self._total:.1%}), "
            f"{self.rate:,.0f} users/s, {left:,.0f} s left"
        )


@contextmanager
def progress_of(console: Console, total: int, done: int) -> Iterator[JobProgress]:
    """Show the progress of a job of which some users are done already."""
    progress = JobProgress(console, total, done)
    with progress.shown():
        yield progress
