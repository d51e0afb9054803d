"""The page of a report: one HTML file that needs nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from mmgrec.reports import plots
from mmgrec.reports.figures import METRICS
from mmgrec.reports.plots import LABELS
from mmgrec_engine.artifact import write_file
from mmgrec_engine.writers import write_bytes

SHOWN_K = (1, 5, 10, 20, 50)
METHODS = ("mmgrec", "itemknn", "popular")
SPLIT_NOTES = {
    "valid": (
        "Validation: training stopped early by this split and ItemKNN was tuned on it, so compare "
        "models by it, and report the test split once everything is chosen (--split test)."
    ),
    "test": "The test split was opened for this report: choose nothing by it.",
}
STAGE_NOTES = {
    "graph": "Graph encoder, which makes the item vectors. Score: NDCG@20 of its dot products on "
    "validation; the dot is the epoch that was kept.",
    "quantizer": "Quantiser, which makes the codes. Score: reconstruction error, negated; the dot "
    "is the epoch that was kept.",
    "recommender": "Recommender, which generates Rec-IDs. Score: NDCG@20 of its beam search on "
    "validation; the dot is the epoch that was kept.",
}
Table = dict[str, Any]


def report_page(figures: Mapping[str, Any]) -> str:
    """Return the page of `report_figures` as HTML."""
    folder = files("mmgrec.reports")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = environment.from_string((folder / "page.html.j2").read_text(encoding="utf-8"))
    run = figures["run"]
    return template.render(
        css=(folder / "page.css").read_text(encoding="utf-8"),
        run=run,
        trained=_day(run["trained"]),
        reported=_day(run["reported"]),
        duration=_duration(run["training_seconds"]),
        split_name={"valid": "validation"}.get(figures["split"], figures["split"]),
        split_note=SPLIT_NOTES[figures["split"]],
        users=_users(figures["users"]),
        facts=_facts(figures),
        findings=figures["findings"],
        headline=_headline(figures),
        methods=[LABELS[name] for name in METHODS],
        knn_note=_knn_note(figures["itemknn"]),
        plots=_plots(figures),
        tables=_tables(figures),
        stage_notes=STAGE_NOTES,
        gini=", ".join(f"{LABELS[n]} {v:.2f}" for n, v in figures["popularity"]["gini"].items()),
        no_modalities=figures["no_modalities"],
        example=figures["example"],
        count=lambda n: f"{n:,} item" + ("" if n == 1 else "s"),
        config=json.dumps(run["train_config"], indent=2),
    )


def save_page(path: Path, page: str) -> None:
    """Write a page so that there is always a whole one."""
    write_file(path, write_bytes(page.encode()))


def _plots(figures: Mapping[str, Any]) -> dict[str, Any]:
    modalities = figures["modalities"]
    return {
        "training": [(s["stage"], plots.training_plot(s)) for s in figures["training"]],
        "codes": plots.code_usage_plot(figures["codes"]),
        "collisions": plots.collision_plot(figures["collisions"]["groups_by_size"]),
        "recall": plots.curve_plot("recall", figures["recall_curve"], "Recall@K"),
        "coverage": plots.curve_plot(
            "coverage", figures["coverage_curve"], "% of the catalogue", percent=True
        ),
        "by_count": plots.by_count_plot(figures["by_training_count"]),
        "popularity": plots.popularity_plot(figures["popularity"]["share"]),
        "modalities": plots.modality_plot(modalities) if modalities else None,
    }


def _tables(figures: Mapping[str, Any]) -> dict[str, Table]:
    return {
        "recall": _curves(figures["recall_curve"], "{:.4f}".format),
        "coverage": _curves(figures["coverage_curve"], "{:.1%}".format),
        "codes": {
            "head": ["level", "codes", "perplexity", "without items", "most items"],
            "rows": [
                [
                    level["level"] + 1,
                    level["codes"],
                    f"{level['perplexity']:.1f}",
                    level["dead_codes"],
                    level["items_per_code"][0],
                ]
                for level in figures["codes"]
            ],
        },
        "collisions": {
            "head": ["items with the same codes", "groups"],
            "rows": [list(pair) for pair in figures["collisions"]["groups_by_size"].items()],
        },
        "by_count": _by_count(figures["by_training_count"]),
        "popularity": {
            "head": ["tenth", *(LABELS[name] for name in figures["popularity"]["share"])],
            "rows": [
                [place, *(f"{value:.1%}" for value in values)]
                for place, values in enumerate(
                    zip(*figures["popularity"]["share"].values(), strict=True), 1
                )
            ],
        },
    }


def _curves(curves: Mapping[str, Sequence[float]], spell: Callable[[float], str]) -> Table:
    rows = [
        [LABELS[name], *(spell(values[k - 1]) for k in SHOWN_K)] for name, values in curves.items()
    ]
    return {"head": ["K", *SHOWN_K], "rows": rows}


def _by_count(buckets: Sequence[Mapping[str, Any]]) -> Table:
    names = list(buckets[0]["recall@20"])
    rows = [
        [
            plots.span(bucket["from"], bucket["to"]),
            f"{bucket['items']:,}",
            f"{bucket['interactions']:,}",
            *(f"{bucket['recall@20'][name]:.4f}" for name in names),
        ]
        for bucket in buckets
    ]
    return {"head": ["in training", "items", "held out", *(LABELS[n] for n in names)], "rows": rows}


def _headline(figures: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a row per metric; a method's cell is its mean and half the width of its interval."""
    metrics = figures["metrics"]
    rows = []
    for metric in METRICS:
        gap = metrics["itemknn"]["ours_minus_this"][metric]
        rows.append(
            {
                "metric": _metric_name(metric),
                "cells": [_cell(metrics[name][metric]) for name in METHODS],
                "gap": f"{gap['mean']:+.4f}",
                "interval": f"{gap['low']:+.4f} to {gap['high']:+.4f}",
            }
        )
    covered = [(f"{metrics[name]['coverage@20']:.1%}", "") for name in METHODS]
    rows.append({"metric": "Coverage@20", "cells": covered, "gap": "", "interval": ""})
    return rows


def _cell(found: Mapping[str, float]) -> tuple[str, str]:
    half = f"± {found['half_width']:.4f}" if "half_width" in found else ""
    return f"{found['mean']:.4f}", half


def _metric_name(metric: str) -> str:
    name, at = metric.split("@")
    return f"{'NDCG' if name == 'ndcg' else name.capitalize()}@{at}"


def _knn_note(settings: Mapping[str, Any]) -> str:
    return (
        f"ItemKNN: {settings['neighbours']} neighbours, shrinkage {settings['shrink']:g}, users "
        f"weighted by n^-{settings['user_power']:g}, chosen on validation."
    )


def _facts(figures: Mapping[str, Any]) -> list[tuple[str, str]]:
    run, data = figures["run"], figures["run"]["data"]
    widths = ", ".join(f"{name} ({width})" for name, width in run["modalities"].items())
    return [
        ("users", f"{data['users']:,}"),
        ("items", f"{data['items']:,}"),
        ("training interactions", f"{data['splits']['train']:,}"),
        ("median history", f"{data['history_length'].get('median', 0):g} items"),
        ("modalities (width)", widths or "none"),
        ("codes per level", " x ".join(map(str, run["level_sizes"][:-1]))),
        ("collision tokens", str(run["level_sizes"][-1])),
        ("recommender", f"{run['parameters']:,} weights"),
    ]


def _users(users: Mapping[str, int]) -> str:
    if users["reported"] == users["of"]:
        return f"{users['of']:,} users"
    return f"{users['reported']:,} of its {users['of']:,} users, evenly spread"


def _day(moment: str) -> str:
    return datetime.fromisoformat(moment).strftime("%-d %B %Y, %H:%M")


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
