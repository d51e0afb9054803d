"""Progress for people (rich) and curves for later (TensorBoard)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from torch.utils.tensorboard import SummaryWriter


class StageBar:
    """One stage's progress bar and curves."""

    def __init__(
        self,
        name: str,
        progress: Progress,
        task: TaskID,
        curves: SummaryWriter | None,
        best: float,
    ) -> None:
        self.name = name
        self._progress = progress
        self._task = task
        self._curves = curves
        self._best = best

    def start(self, score: float) -> None:
        """Note what the weights before the first epoch score."""
        if score > float("-inf"):
            self._curve("validation", score, 0)
        self._best = score

    def epoch(self, epoch: int, loss: float, score: float | None) -> None:
        """Note a finished epoch."""
        self._curve("loss", loss, epoch)
        text = f"loss {loss:.4f}"
        if score is not None:
            self._curve("validation", score, epoch)
            self._best = max(self._best, score)
        if self._best > float("-inf"):
            text += f"  best {self._best:.4f}"
        self._progress.update(self._task, completed=epoch, note=text)

    def finish(self) -> None:
        """Fill the bar, also where early stopping left epochs out."""
        done = next(task.completed for task in self._progress.tasks if task.id == self._task)
        self._progress.update(self._task, total=done)

    def _curve(self, name: str, value: float, epoch: int) -> None:
        if self._curves is not None:
            self._curves.add_scalar(f"{self.name}/{name}", value, epoch)


class Reporter:
    """Where training says what it does.

    Parameters
    ----------
    console : Console
        Standard error of the command.
    logs : Path or None
        Folder of the TensorBoard files; None: keep no curves.
    """

    def __init__(self, console: Console, logs: Path | None) -> None:
        self.console = console
        self.logs = logs

    @contextmanager
    def stage(self, name: str, epochs: int, done: int, best: float) -> Iterator[StageBar]:
        """Show a bar with elapsed time and estimate while a stage runs.

        ``done``, ``best``: epochs and best score so far, where it goes on from a checkpoint.
        """
        logs = None if self.logs is None else str(self.logs / name)
        curves = None if logs is None else SummaryWriter(logs, purge_step=done + 1)
        columns = (*_columns(), TextColumn("{task.fields[note]}"))
        with Progress(*columns, console=self.console) as progress:
            task = progress.add_task(name, total=epochs, completed=done, note="")
            try:
                yield StageBar(name, progress, task, curves, best)
            finally:
                if curves is not None:
                    curves.close()

    @contextmanager
    def counter(self, name: str, total: int) -> Iterator[Callable[[int], None]]:
        """Show a bar over items while they are worked through; yield what counts them."""
        with Progress(*_columns(), console=self.console) as progress:
            task = progress.add_task(name, total=total)
            yield lambda count: progress.advance(task, count)

    def say(self, text: str) -> None:
        """Print one line between stages."""
        self.console.print(text)


def _columns() -> tuple[ProgressColumn, ...]:
    return (
        TextColumn("{task.description:<13}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
