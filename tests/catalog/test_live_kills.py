"""A live catalogue whose writer is killed: acknowledged edits stay, nothing else comes."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from pathlib import Path

import live_script
import numpy as np
import pytest
from live_script import SIZES, model_of, next_call
from nursery import Nursery

from mmgrec_engine.catalog.live import LiveCatalog

KILLS = 100
NO_COMPACTIONS = 10**9


@pytest.fixture
def nursery() -> Iterator[Nursery]:
    nursery = Nursery(live_script.__file__)
    yield nursery
    nursery.close()


def _leftovers(folder: Path) -> bool:
    return len(list(folder.glob("edits-*.log"))) > 1 or any(folder.glob(".staging-*"))


def test_every_acknowledged_edit_survives_sigkill(tmp_path: Path, nursery: Nursery) -> None:
    folder = tmp_path / "c"
    LiveCatalog.create(folder, np.zeros((0, len(SIZES)), np.int32), SIZES).close()
    rng = random.Random(1)
    model: live_script.Model = {}
    sequence = during_compaction = 0
    for round_ in range(KILLS):
        compact_after = 3 if round_ % 2 else NO_COMPACTIONS
        command = f"edit {folder} {round_} {compact_after}"
        said, code = nursery.run(command, kill_after=rng.uniform(0, 0.03))
        assert code == -signal.SIGKILL
        numbers = [int(line) for line in said]
        assert numbers == list(range(sequence + 1, numbers[-1] + 1))
        during_compaction += _leftovers(folder)
        with LiveCatalog.open(folder, compact_after=NO_COMPACTIONS) as catalog:
            # The batch in flight may have become durable without its acknowledgement.
            assert numbers[-1] <= catalog.sequence <= numbers[-1] + 1
            for number in range(sequence + 1, catalog.sequence + 1):
                next_call(model, round_, number)
            assert list(model_of(catalog).items()) == sorted(model.items())
            expected = {item: f"payload {item}".encode() for item in model.values()}
            assert catalog.payloads == expected
            sequence = catalog.sequence
    assert during_compaction > 0


def test_killed_before_any_step_of_a_compaction(tmp_path: Path, nursery: Nursery) -> None:
    folder = tmp_path / "c"
    with LiveCatalog.create(folder, np.array([[0, 0, 0], [4, 4, 4]]), SIZES) as catalog:
        catalog.insert(np.array([[1, 2, 3]]), [7], [b"row"])
    steps = 0
    while True:
        _, code = nursery.run(f"step {folder} {steps}")
        reader = LiveCatalog.open(folder, read_only=True)
        with LiveCatalog.open(folder) as catalog:
            model = {(0, 0, 0): 0, (1, 2, 3): 7, (4, 4, 4): 1}
            assert model_of(catalog) == model_of(reader) == model
            assert catalog.payloads == {7: b"row"}
            assert len(list(folder.glob("edits-*.log"))) == 1
            # There is something to compact each time.
            catalog.delete(np.array([[1, 2, 3]]))
            catalog.insert(np.array([[1, 2, 3]]), [7], [b"row"])
        if code == 0:
            break
        assert code == 9
        steps += 1
    assert steps > 15
