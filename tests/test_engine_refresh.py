"""An engine that follows the edits of another one."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mmgrec_engine import live_items
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


def known_of(engine: Engine) -> dict[object, tuple[object, ...]]:
    """Return Rec-ID, vector and title of every item that can be recommended, by id."""
    state, table = engine.state, engine.items
    titles = table["title"].to_list() if "title" in table.columns else [None] * len(table)
    codes = table.select(pl.selectors.starts_with("token_")).rows()
    return {
        item: (codes[row], state.vectors[state.slots_of(np.array([row]))][0].tolist(), titles[row])
        for row, item in enumerate(table["item"].to_list())
        if codes[row][0] is not None
    }


@pytest.mark.parametrize("seed", range(6))
def test_following_edit_by_edit_is_reading_everything(
    folder: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_anew = []
    real = live_items.FollowedCatalog
    monkeypatch.setattr(
        live_items, "FollowedCatalog", lambda path: read_anew.append(path) or real(path)
    )
    rng = np.random.default_rng(seed)
    writer, reader = Engine.load(folder), Engine.load(folder)
    writer.delete(["i00"])
    reader.refresh()
    read_anew.clear()
    gone, compactions = ["i00"], 0
    for step in range(40):
        # A deleted item's last vector is known to who has seen it; so histories keep theirs.
        living = [item for item in known_of(writer) if item not in HISTORY[0]]
        picked = [living[i] for i in rng.choice(len(living), rng.integers(1, 4), replace=False)]
        kind = rng.integers(4)
        if kind == 0:
            writer.delete(picked)
            gone += picked
        elif kind == 1:
            # New ones and, under a row of its own, one that was there before.
            new = [f"n{step}-{i}" for i in range(2)] + gone[-1:]
            new = [item for item in new if item not in living]
            writer.insert(new, vectors=rng.normal(size=(len(new), 16)).astype(np.float32))
        else:
            writer.replace(picked, vectors=rng.normal(size=(len(picked), 16)).astype(np.float32))
        if step % 15 == 14:
            writer.compact()
            compactions += 1
        if rng.random() < 0.6:
            assert reader.refresh()
            anew = Engine.load(folder)
            assert known_of(reader) == known_of(writer) == known_of(anew)
            wanted = anew.recommend(HISTORY, k=30)
            found = reader.recommend(HISTORY, k=30)
            assert found.items.tolist() == wanted.items.tolist()
            np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-5)
            read_anew.pop()  # the one that was just loaded
    # Only after a compaction, or where the last new items were gone before they were seen.
    assert len(read_anew) <= compactions + 2


def test_an_edit_that_was_taken_back_is_forgotten(folder: Path) -> None:
    writer, reader = Engine.load(folder), Engine.load(folder)
    writer.delete(["i05"])
    assert reader.refresh()
    (journal,) = (folder / "catalog").glob("edits-*.log")
    durable = journal.read_bytes()
    writer.delete(["i07"])
    assert reader.refresh()
    assert reader.num_items == 38
    journal.write_bytes(durable)  # as if it had never been acknowledged
    assert reader.refresh()
    assert reader.num_items == 39
    assert "i07" in known_of(reader)


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
