"""A random model in a run's folder, for who wants to load a server and has trained nothing."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from mmgrec.profiling.engine_world import LENGTH, World
from mmgrec_engine.model_folder import ModelFolder, save_model_folder

ITEMS, USERS = 100_000, 512


@contextmanager
def random_run() -> Iterator[tuple[Path, list[list[Any]]]]:
    """Make the model of `bench engine` over `ITEMS` items, and histories, for a while.

    It answers requests as a trained one does; it cannot take new items.
    """
    world = World(ITEMS)
    popularity = np.random.default_rng(0).zipf(1.5, ITEMS)
    items = pl.DataFrame({"item": np.arange(ITEMS), "popularity": popularity})
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        save_model_folder(
            run,
            ModelFolder.of_model(world.model, world.trie, items, None),
            quantizer={},
            features={},
            tokenizer={},
            metrics={},
            choices={},
            provenance={"dataset": f"{ITEMS:,} random items"},
        )
        histories = np.random.default_rng(0).integers(0, ITEMS, (USERS, LENGTH))
        # A history is a set of items.
        yield run, [list(dict.fromkeys(row)) for row in histories.tolist()]
