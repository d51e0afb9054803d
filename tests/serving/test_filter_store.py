"""Named filters on disk: what the engine has is what the disk has."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from mmgrec.serving import filter_store
from mmgrec.serving.filter_store import FilterStore
from mmgrec_engine.engine import Engine
from mmgrec_engine.errors import ArtifactError, RequestError
from serving_world import copy_run, vector


@pytest.fixture
def engine(run_folder: Path, tmp_path: Path) -> Engine:
    return Engine.load(copy_run(run_folder, tmp_path / "run"))


@pytest.fixture
def store(tmp_path: Path) -> FilterStore:
    return FilterStore(tmp_path / "filters")


def passing(engine: Engine, where: str) -> set[str]:
    found = engine.recommend([["i01"]], k=60, exclude_seen=False, where=where).items[0]
    return {item for item in found if item is not None}


def full(*_: object) -> None:
    raise ArtifactError("the disk is full")


def denied(*_: object, **__: object) -> None:
    raise PermissionError(13, "Permission denied")


def test_another_store_of_the_folder_applies_what_this_one_keeps(
    engine: Engine, store: FilterStore, tmp_path: Path, run_folder: Path
) -> None:
    other, others = Engine.load(run_folder), FilterStore(tmp_path / "filters")
    store.set(engine, "few", ["i01", "i02"])
    store.set(engine, "one", ["i03"])
    others.apply(other)
    assert passing(other, "few or one") == {"i01", "i02", "i03"}
    store.remove(engine, "one")
    others.apply(other)
    assert other.filter_names() == engine.filter_names() == ["few"]


def test_items_that_come_later_are_in_the_filters_that_name_them(
    engine: Engine, store: FilterStore, tmp_path: Path
) -> None:
    (tmp_path / "filters").mkdir()
    (tmp_path / "filters" / "few.json").write_text(json.dumps({"ids": ["i01", "n0", "n1"]}))
    store.apply(engine)
    assert passing(engine, "few") == {"i01"}
    for item in ("n0", "n1"):
        engine.insert([item], vectors=np.array([vector(0)]))
        store.apply(engine)
        assert item in passing(engine, "few")
    engine.close()


def test_a_disk_that_refuses_leaves_the_engine_as_it_was(
    engine: Engine, store: FilterStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.set(engine, "few", ["i01"])
    store.apply(engine)
    with monkeypatch.context() as patch:
        patch.setattr(filter_store, "write_file", full)
        for name in ("few", "new"):
            with pytest.raises(ArtifactError, match="full"):
                store.set(engine, name, ["i02"])
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", denied)
        with pytest.raises(ArtifactError, match="cannot be removed"):
            store.remove(engine, "few")
    assert engine.filter_names() == ["few"]
    assert passing(engine, "few") == {"i01"}


def test_what_the_engine_refuses_is_not_kept(
    engine: Engine, store: FilterStore, tmp_path: Path
) -> None:
    for name, ids in (("a-b", ["i01"]), ("few", ["nothing"])):
        with pytest.raises(RequestError):
            store.set(engine, name, ids)
    with pytest.raises(RequestError):
        store.remove(engine, "few")
    assert not (tmp_path / "filters").exists()


def test_one_that_vanishes_while_the_folder_is_read_takes_no_other_along(
    engine: Engine, store: FilterStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.set(engine, "few", ["i01"])
    listed = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: ["gone.json", *listed(path)])
    store.apply(engine)
    assert engine.filter_names() == ["few"]


def test_a_folder_that_cannot_be_read_takes_no_filter_away(
    engine: Engine, store: FilterStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.set(engine, "few", ["i01"])
    store.apply(engine)
    monkeypatch.setattr(os, "listdir", denied)
    store.apply(engine)
    assert engine.filter_names() == ["few"]
    with pytest.raises(ArtifactError, match="cannot be read"):
        store.apply(engine, everything=True)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"ids": 7}', '{"ids": [[1]]}', '{"other": []}'])
def test_a_damaged_file_is_no_filter(
    engine: Engine, store: FilterStore, tmp_path: Path, text: str
) -> None:
    store.set(engine, "few", ["i01"])
    (tmp_path / "filters" / "bad.json").write_text(text)
    store.apply(engine)
    assert engine.filter_names() == ["few"]
