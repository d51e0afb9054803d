"""An engine that follows the edits of another one."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from mmgrec_engine.engine import Engine
from mmgrec_engine.errors import ArtifactError

HISTORY = [["i01", "i03"]]


@pytest.fixture
def folder(run_folder: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "run"
    shutil.copytree(run_folder, copy, ignore=shutil.ignore_patterns("training", "catalog"))
    return copy


def vectors(count: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, 16)).astype(np.float32)


def test_edits_of_another_engine_are_taken_over(folder: Path) -> None:
    writer, reader = Engine.load(folder), Engine.load(folder)
    reader.set_filter("few", ["i05", "i07"])
    assert reader.refresh() is False
    writer.insert(["n0", "n1"], vectors=vectors(2))
    writer.delete(["i05"])
    assert reader.refresh() is True
    assert reader.refresh() is False
    assert reader.num_items == writer.num_items == 41
    for exact in (False, True):
        wanted = writer.recommend(HISTORY, k=45, exact=exact)
        found = reader.recommend(HISTORY, k=45, exact=exact)
        assert found.items.tolist() == wanted.items.tolist()
        np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-5)
    assert reader.recommend(HISTORY, k=2, where="few").items[0].tolist() == ["i07", None]


def test_a_compaction_changes_nothing(folder: Path) -> None:
    writer, reader = Engine.load(folder), Engine.load(folder)
    writer.replace(["i09"], vectors=vectors(1))
    reader.refresh()
    before = reader.recommend(HISTORY, k=40).items.tolist()
    writer.compact()
    reader.refresh()
    assert reader.recommend(HISTORY, k=40).items.tolist() == before
    writer.delete(["i09"])
    assert reader.refresh() is True
    assert "i09" not in reader.recommend(HISTORY, k=40).items


def test_whoever_writes_has_nothing_to_take_over(folder: Path) -> None:
    engine = Engine.load(folder)
    engine.delete(["i05"])
    assert engine.refresh() is False
    engine.close()
    assert engine.refresh() is False
    assert engine.num_items == 39


def test_damaged_edits_are_refused_and_nothing_changes(folder: Path) -> None:
    writer, reader = Engine.load(folder), Engine.load(folder)
    writer.delete(["i05"])
    reader.refresh()
    (folder / "catalog" / "artifact.json").write_text("{}")
    with pytest.raises(ArtifactError, match="cannot be read"):
        reader.refresh()
    assert reader.num_items == 39
