"""`mmgrec doctor`: what this machine has, which backends run and why others do not, a self-test."""

from __future__ import annotations

from typing import Any

import typer

from mmgrec.cli.output import print_json, print_table
from mmgrec.cli.runs import JsonOption


def doctor(json: JsonOption = False) -> None:
    """Print versions, CPU, backends and settings, and run a self-test."""
    from mmgrec.profiling.environment import environment
    from mmgrec.profiling.self_test import self_test

    report: dict[str, Any] = {**environment(), "self_test": self_test()}
    if json:
        print_json(report)
    else:
        _print(report)
    if any(outcome != "ok" for outcome in report["self_test"].values()):
        raise typer.Exit(1)


def _print(report: dict[str, Any]) -> None:
    from rich.markup import escape
    from rich.table import Table

    for section, content in report.items():
        if section == "backends":
            continue
        table = Table(title=section.replace("_", " "), show_header=False, title_justify="left")
        for name, value in content.items():
            table.add_row(name, "-" if value is None else escape(str(value)))
        print_table(table)
    table = Table(title="backends", title_justify="left")
    names = list(next(iter(report["backends"].values())))
    table.add_column("op", no_wrap=True)
    for name in names:
        table.add_column(name)
    for op, states in report["backends"].items():
        table.add_row(op, *states.values())
    print_table(table)
