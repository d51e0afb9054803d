"""How long the rows of an experiment that are still to do may take."""

from __future__ import annotations

from collections import defaultdict

from rich.console import Console

from mmgrec.experiments.rows import Named


class Clock:
    """Says after every row how long the others may take.

    As long as their method's last seed took; before its first, as the mean row so far. ``score``
    names the score that every row is told with.
    """

    def __init__(self, console: Console, todo: list[str], score: str) -> None:
        self.console, self.todo, self.total, self.score = console, todo, len(todo), score
        self.spent: dict[str, list[float]] = defaultdict(list)
        if todo:
            console.print(f"{self.total} rows to do")

    def done(self, method: Named, seed: int, seconds: float, score: float) -> None:
        """Note a finished row."""
        self.todo.remove(method.slug)
        self.spent[method.slug].append(seconds)
        mean = sum(map(sum, self.spent.values())) / (self.total - len(self.todo))
        left = sum(self.spent[slug][-1] if self.spent[slug] else mean for slug in self.todo)
        which = method.name if len(method.seeds) == 1 else f"{method.name}, seed {seed}"
        self.console.print(
            f"[{self.total - len(self.todo)}/{self.total}] {which}: {self.score} "
            f"{score:.4f}, {duration(seconds)}; about {duration(left)} left",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


def duration(seconds: float) -> str:
    """Spell a time for people: 8 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
