"""A results table for people: on the terminal, and as Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.markup import escape
from rich.table import Table

from mmgrec.experiments.results import DECIDING, METRICS

PARTS = {
    "valid": "validation split",
    "test": "test split",
    "refit": "test split, fitted once more on training and validation items",
    "cold": "new items ranked among themselves",
    "all": "new items ranked among all items",
}


def result_tables(results: dict[str, Any]) -> Iterator[Table]:
    """Lay every split's figures out for a terminal."""
    for split, figures in results["splits"].items():
        table = Table(title=escape(_title(results, split)), caption=_notes(results, split))
        table.add_column("")
        for metric in METRICS:
            table.add_column(_short(metric), justify="right", no_wrap=True)
        table.add_column("Δ N@20 [95 %]", justify="right", no_wrap=True)
        table.add_column("p", justify="right", no_wrap=True)
        for row in figures["rows"]:
            style = "bold" if row["kind"] == "ours" else None
            cells = [_mean(row[metric], "\n") for metric in METRICS]
            table.add_row(escape(row["method"]), *cells, *_difference(row, "\n"), style=style)
        yield table


def markdown(results: dict[str, Any]) -> bytes:
    """Return the whole result as a Markdown file."""
    parts = []
    for split, figures in results["splits"].items():
        names = ["", *map(_label, METRICS), "Δ NDCG@20 [95 %]", "p", "settings"]
        lines = [f"## {_title(results, split)}", "", _line(names), _line(["---"] * len(names))]
        for row in figures["rows"]:
            cells = [_mean(row[metric], " ") for metric in METRICS]
            cells += [*_difference(row, " "), _settings(row["settings"])]
            lines.append(_line([row["method"], *cells]))
        parts.append("\n".join([*lines, "", _notes(results, split), ""]))
    return "\n".join(parts).encode()


def _title(results: dict[str, Any], split: str) -> str:
    users = results["splits"][split]["users"]
    return f"{results['dataset']}, {PARTS[split]}, {users:,} users"


def _notes(results: dict[str, Any], split: str) -> str:
    notes = []
    if any(row["seeds"] > 1 for row in results["splits"][split]["rows"]):
        notes.append(f"± standard deviation over {len(results['seeds'])} seeds.")
    if results["against"] is not None:
        notes.append(
            f"Δ: to {results['against']}{_why(results)}; paired bootstrap over users, "
            f"{results['resamples']:,} resamples of each user's mean over seeds."
        )
    if "cold" in results:
        return " ".join([*notes, _cold_note(results["cold"])])
    openings = results["test_openings"]
    if split == "refit":
        notes.append(
            "What was chosen on validation was fitted once more, to the training and validation "
            "items, which are the histories here."
        )
    if split == "valid":
        notes.append("Everything was chosen on this split.")
    elif openings == 1:
        notes.append("The test split was opened once, for this table; all choices: validation.")
    else:
        notes.append(f"The test split was opened for {openings} tables of this folder.")
    return " ".join(notes)


def _why(results: dict[str, Any]) -> str:
    if results["against"] != results["best_baseline"]:
        return ""
    return ", the best baseline" + ("" if "cold" in results else " on validation")


def _cold_note(cold: dict[str, Any]) -> str:
    items, interactions = (" / ".join(map(str, cold[n])) for n in ("items", "interactions"))
    return (
        f"Held out per seed: {items} items with {interactions} interactions, which nothing was "
        "trained on or chosen by; 'popular, known later' ranks by these very interactions."
    )


def _label(metric: str) -> str:
    name, at = metric.split("@")
    return f"{name.upper() if name == 'ndcg' else name.capitalize()}@{at}"


def _short(metric: str) -> str:
    name, at = metric.split("@")
    return f"{name[0].upper()}@{at}"


def _mean(figure: dict[str, Any], between: str) -> str:
    text = _number(figure["mean"])
    return text if figure["std"] is None else f"{text}{between}±{_number(figure['std'])}"


def _difference(row: dict[str, Any], between: str) -> tuple[str, str]:
    if "difference" not in row:
        return "-", "-"
    found = row["difference"][DECIDING]
    mean, low, high = (_number(found[name], "+") for name in ("mean", "low", "high"))
    return f"{mean}{between}[{low}, {high}]", _number(found["p"])


def _number(value: float, sign: str = "") -> str:
    """Spell four digits, without the zero before the point."""
    return f"{value:{sign}.4f}".replace("0.", ".", 1)


def _settings(settings: dict[str, Any]) -> str:
    """Spell settings as name=value; those inside others by their path."""
    flat = dict(_flat(settings, ""))
    return ", ".join(f"{name}={value}" for name, value in flat.items()) or "-"


def _flat(settings: dict[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
