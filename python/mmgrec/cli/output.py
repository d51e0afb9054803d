"""What a command prints: results on standard output, everything else on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from typing import Any

from rich.console import Console

HUMAN = Console(stderr=True)
"""Progress, tables and messages while a command works."""


def say(text: str) -> None:
    """Print a line on standard error as it is: names in it are no markup, paths stay whole."""
    HUMAN.print(text, markup=False, highlight=False, soft_wrap=True)


def print_json(value: Any) -> None:  # noqa: ANN401 - anything JSON can hold
    """Print one JSON value on standard output."""
    json.dump(value, sys.stdout, indent=2)
    sys.stdout.write("\n")


def print_table(table: Any) -> None:  # noqa: ANN401 - any rich renderable
    """Print a result for people on standard output."""
    Console().print(table)


def print_report(
    report: dict[str, Any], tables: Callable[[dict[str, Any]], Iterable[Any]], as_json: bool
) -> None:
    """Print a bench's or profile's report: as JSON, or its machine and then its tables."""
    if as_json:
        print_json(report)
        return
    from mmgrec.profiling.bench_report import describe_machine

    print_table(describe_machine(report))
    for table in tables(report):
        print_table(table)
