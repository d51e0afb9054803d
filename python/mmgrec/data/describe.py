"""The figures of a data set."""

from __future__ import annotations

from typing import Any

import numpy as np
from rich.markup import escape
from rich.table import Table

from mmgrec.data.dataset import Dataset, Split

QUANTILES = {"min": 0.0, "25%": 0.25, "median": 0.5, "75%": 0.75, "max": 1.0}


def describe(dataset: Dataset) -> dict[str, Any]:
    """Return users, items, interactions, density, splits, history lengths and modalities."""
    train = dataset.histories(Split.TRAIN)
    lengths = train.lengths
    total = len(dataset.interactions)
    cells = dataset.num_users * dataset.num_items
    return {
        "dataset": dataset.name,
        "users": dataset.num_users,
        "items": dataset.num_items,
        "interactions": total,
        "density": total / cells if cells else 0.0,
        "splits": {
            split.name.lower(): int((dataset.interactions["split"] == int(split)).sum())
            for split in Split
        },
        "history_length": {
            name: float(np.quantile(lengths, q)) for name, q in QUANTILES.items() if len(lengths)
        },
        "users_without_history": int((lengths == 0).sum()),
        "items_without_training": dataset.num_items - len(np.unique(train.item_rows)),
        "modalities": {
            name: {"width": m.values.shape[1], "missing": int((~m.present).sum())}
            for name, m in dataset.modalities.items()
        },
    }


def describe_table(figures: dict[str, Any]) -> Table:
    """Lay the figures out for people."""
    table = Table(
        title=f"Data set {escape(figures['dataset'])}", show_header=False, title_justify="left"
    )
    table.add_column(style="bold")
    table.add_column()
    for name in ("users", "items", "interactions"):
        table.add_row(name, f"{figures[name]:,}")
    table.add_row("density", f"{figures['density']:.3%}")
    table.add_row("splits", ", ".join(f"{n} {c:,}" for n, c in figures["splits"].items()))
    lengths = ", ".join(f"{n} {v:g}" for n, v in figures["history_length"].items())
    table.add_row("training history", lengths)
    table.add_row("users without history", f"{figures['users_without_history']:,}")
    table.add_row("items without training", f"{figures['items_without_training']:,}")
    for name, modality in figures["modalities"].items():
        missing = (
            f"missing for {modality['missing']:,} items" if modality["missing"] else "complete"
        )
        table.add_row(f"modality {escape(name)}", f"{modality['width']} wide, {missing}")
    return table
