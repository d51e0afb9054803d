"""Edits of a live catalogue that follow from a seed, and processes that are killed making them.

As a script it forks one light child per line of standard input (no torch, nothing to warm up):

    edit FOLDER SEED COMPACT_AFTER   edits on and on, printing the number of each acknowledged batch
    step FOLDER K                    compacts, and dies before its K-th call that changes the disk
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

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


def _say(text: object) -> None:
    os.write(1, f"{text}\n".encode())


def _edit_forever(folder: str, seed: int, compact_after: int) -> None:
    catalog = LiveCatalog.open(folder, compact_after=compact_after)
    model = model_of(catalog)
    while True:
        method, arguments = next_call(model, seed, catalog.sequence + 1)
        getattr(catalog, method)(**arguments)
        _say(catalog.sequence)


def _die_at(calls: int) -> None:
    left = [calls]

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            if left[0] == 0:
                os._exit(9)
            left[0] -= 1
            return function(*args, **kwargs)

        return call

    os.replace, os.fsync, os.rmdir = counted(os.replace), counted(os.fsync), counted(os.rmdir)
    os.unlink, os.mkdir = counted(os.unlink), counted(os.mkdir)
    Path.unlink, Path.open = counted(Path.unlink), counted(Path.open)  # type: ignore[method-assign]


def _compact_and_die(folder: str, calls: int) -> None:
    catalog = LiveCatalog.open(folder)
    _die_at(calls)
    catalog.compact(background=False)


def main() -> None:
    """Serve the commands of standard input, one child each."""
    for line in sys.stdin:
        command, folder, *numbers = line.split()
        child = os.fork()
        if child == 0:
            try:
                run = {"edit": _edit_forever, "step": _compact_and_die}[command]
                run(folder, *map(int, numbers))
            finally:
                os._exit(1 if sys.exc_info()[0] else 0)
        _say(f"pid {child}")
        _say(f"end {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}")


if __name__ == "__main__":
    main()
