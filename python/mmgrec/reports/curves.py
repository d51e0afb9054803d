"""Training curves of a run, from the TensorBoard files that its stages wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

ORDER = ("graph", "quantizer", "recommender")
"""Stages in the order in which they train; members of an ensemble are graph, graph-2, ..."""


def training_curves(logs: Path) -> list[dict[str, Any]]:
    """Return loss and validation score per epoch of every stage; empty where there are no files.

    Each is ``{"stage", "loss": [[epoch, value], ...], "validation": [...]}``.
    """
    if not logs.is_dir():
        return []
    names = sorted((folder.name for folder in logs.iterdir() if folder.is_dir()), key=_place)
    stages = [_stage(logs / name) for name in names]
    return [stage for stage in stages if stage["loss"]]


def _place(name: str) -> tuple[int, int, str]:
    stage, _, member = name.partition("-")
    if stage not in ORDER or not (member.isdigit() or not member):
        return len(ORDER), 0, name
    return ORDER.index(stage), int(member or 1), name


def _stage(folder: Path) -> dict[str, Any]:
    # Imported here: it takes a second.
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    curves: dict[str, Any] = {"stage": folder.name, "loss": [], "validation": []}
    for tag in events.Tags()["scalars"]:
        kind = tag.rsplit("/", 1)[-1]
        # The same epoch twice: a killed run did it again.
        points = {event.step: event.value for event in events.Scalars(tag)}
        curves[kind] = [[step, value] for step, value in sorted(points.items())]
    return curves
