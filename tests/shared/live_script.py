"""Edits of a live catalogue that follow from a seed, and processes that are killed making them.

As a script it forks them (no torch, nothing to warm up); see `nursery`:

    edit FOLDER SEED COMPACT_AFTER   edits on and on, printing the number of each acknowledged batch
    step FOLDER K                    compacts, and dies before its K-th call that changes the disk
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
from nursery import die_at_call, say, serve_commands

from mmgrec_engine.catalog.live import LiveCatalog

SIZES = [5, 300, 6]
Tuple = tuple[int, ...]
Model = dict[Tuple, int]


def next_call(model: Model, seed: int, sequence: int) -> tuple[str, dict[str, Any]]:
    """Choose batch ``sequence``, and make it in the model: (method, arguments)."""
    rng = random.Random(f"{seed} {sequence}")
    count = rng.choice([1, 1, 1, 2, 5])
    free: list[Tuple] = []
    while len(free) < count:
        row = tuple(rng.randrange(size) for size in SIZES)
        if row not in model and row not in free:
            free.append(row)
    taken = rng.sample(sorted(model), min(count, len(model)))
    kind = rng.choice(["insert", "delete", "replace"] if len(model) > 40 else ["insert"])
    if kind == "insert":
        ids = [1000 + 10 * sequence + i for i in range(count)]
        model.update(zip(free, ids, strict=True))
        payloads = [f"payload {i}".encode() for i in ids]
        return kind, {"codes": np.array(free), "ids": ids, "payloads": payloads}
    moved = [model.pop(row) for row in taken]
    if kind == "delete":
        return kind, {"codes": np.array(taken)}
    model.update(zip(free, moved, strict=True))
    return kind, {"old": np.array(taken), "new": np.array(free)}


def model_of(catalog: LiveCatalog) -> Model:
    """Return the items of a catalogue, in the order of its walk."""
    snapshot = catalog.snapshot()
    rows = map(tuple, snapshot.codes().tolist())
    return dict(zip(rows, snapshot.ids().tolist(), strict=True))


def _edit_forever(folder: str, seed: str, compact_after: str) -> None:
    catalog = LiveCatalog.open(folder, compact_after=int(compact_after))
    model = model_of(catalog)
    while True:
        method, arguments = next_call(model, int(seed), catalog.sequence + 1)
        getattr(catalog, method)(**arguments)
        say(catalog.sequence)


def _compact_and_die(folder: str, calls: str) -> None:
    catalog = LiveCatalog.open(folder)
    die_at_call(int(calls))
    catalog.compact(background=False)


if __name__ == "__main__":
    serve_commands({"edit": _edit_forever, "step": _compact_and_die})
