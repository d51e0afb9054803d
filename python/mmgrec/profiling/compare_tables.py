"""A comparison of two reports, for people and for machines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table

from mmgrec.profiling.compare import WANTED, Change, Comparison, Verdict
from mmgrec.profiling.report_labels import duration

VERDICTS: dict[Verdict, str] = {
    "slower": "slower",
    "faster": "faster",
    "unclear": "unclear: too noisy to tell, or its baselines moved with it",
}


def comparison_table(found: Comparison) -> RenderableType:
    """Lay out what changed, and how many cases did not."""
    return Group(*_parts(found))


def _parts(found: Comparison) -> Iterator[RenderableType]:
    for warning in found.warnings:
        yield f"warning: {warning}"
    for verdict, title in VERDICTS.items():
        if changes := found.of(verdict):
            yield _table(title, changes)
    counts = {name: len(found.of(name)) for name in ("slower", "faster", "unclear", "same")}
    yield ", ".join(f"{count} {name}" for name, count in counts.items())
    noisy = sum(change.bar > WANTED for change in found.changes)
    if noisy:
        yield f"{noisy} cases scatter so much that a change of 20 % would not have shown"
    yield f"baselines took {found.machine:+.1%} time"
    for name, keys in (("first", found.only_before), ("second", found.only_after)):
        if keys:
            yield f"{len(keys)} rows are in the {name} report only"


def _table(title: str, changes: list[Change]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("case", overflow="fold")
    for name in ("before", "after", "change", "baselines", "told from"):
        table.add_column(name, justify="right")
    for change in changes:
        table.add_row(
            change.row.key,
            *(_amount(change, value) for value in (change.before, change.after)),
            *(f"{share:+.1%}" for share in (change.change, change.baselines, change.bar)),
        )
    return table


def _amount(change: Change, value: float) -> str:
    sized = "bytes_per_item" in (change.row.model_extra or {})
    return f"{value:.2f} B" if sized else duration(value)


def comparison_json(found: Comparison) -> dict[str, Any]:
    """Return everything, changes in the order of the report."""
    return {
        "slower": [change.row.key for change in found.slower],
        "faster": [change.row.key for change in found.of("faster")],
        "unclear": [change.row.key for change in found.of("unclear")],
        "machine": found.machine,
        "warnings": found.warnings,
        "only_before": found.only_before,
        "only_after": found.only_after,
        "changes": [
            {
                "key": change.row.key,
                "verdict": change.verdict,
                "before": change.before,
                "after": change.after,
                "change": change.change,
                "baselines": change.baselines,
                "bar": change.bar,
            }
            for change in found.changes
        ],
    }
