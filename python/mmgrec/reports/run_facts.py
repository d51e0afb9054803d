"""What was trained, for the head of a report."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from mmgrec.data.dataset import Dataset
from mmgrec.data.describe import describe
from mmgrec_engine import __version__
from mmgrec_engine.model_folder import ModelFolder


def run_facts(folder: ModelFolder, dataset: Dataset, run: Path) -> dict[str, Any]:
    """Return data set, preset, seed, dates and sizes of a run."""
    assert folder.source is not None  # it was loaded from a folder
    config = folder.source.config
    provenance, metrics = config["provenance"], _metrics(folder)
    written = folder.source.path / "config.json"
    return {
        "folder": str(run),
        "dataset": provenance["dataset"],
        "preset": provenance["preset"],
        "seed": provenance["seed"],
        "trained": _moment(written.stat().st_mtime),
        "reported": _moment(datetime.now().timestamp()),
        "version": __version__,
        "training_seconds": metrics.get("seconds"),
        "epochs": metrics.get("epochs"),
        "best_epoch": metrics.get("best_epoch"),
        "reconstruction_error": metrics.get("rec_ids", {}).get("reconstruction_error"),
        "level_sizes": folder.trie.level_sizes,
        "parameters": _parameters(folder),
        "train_config": provenance["train_config"],
        "data": describe(dataset),
        "modalities": config.get("tokenizer", {}).get("modalities", {}),
    }


def _parameters(folder: ModelFolder) -> int:
    frozen = ("item_vectors", "user_vectors")
    return sum(int(x.size) for name, x in folder.weights.items() if name not in frozen)


def _metrics(folder: ModelFolder) -> dict[str, Any]:
    assert folder.source is not None
    metrics: dict[str, Any] = json.loads(folder.source.file("metrics.json").read_text())
    return metrics


def _moment(timestamp: float) -> str:
    return datetime.fromtimestamp(timestamp).astimezone().isoformat(timespec="minutes")
