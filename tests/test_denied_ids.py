"""Denied items told by id to an engine whose ids are numbers, against what rows and leaves give."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mmgrec_engine.engine import Engine
from mmgrec_engine.errors import RequestError
from mmgrec_engine.model_folder import load_model_folder

FIRST, ITEMS = 100, 40
HISTORIES = [[103, 107, 111], [102], [120, 121]]


@pytest.fixture(params=[1, 2], ids=["numbered through", "with gaps"])
def engine(request: pytest.FixtureRequest, run_folder: Path, tmp_path: Path) -> Iterator[Engine]:
    """The run's engine with ids 100, 101, ... in another order; with gaps: even ones and a few."""
    copy = tmp_path / "run"
    shutil.copytree(run_folder, copy, ignore=shutil.ignore_patterns("training"))
    folder = load_model_folder(copy)
    ids = np.random.default_rng(0).permutation(ITEMS) + FIRST
    if request.param == 2:
        ids[ids >= FIRST + 30] += 30
    engine = Engine(replace(folder, items=folder.items.with_columns(pl.Series("item", ids))))
    yield engine
    engine.close()


def vectors(engine: Engine, count: int, seed: int) -> np.ndarray:
    """Vectors of new items."""
    rng = np.random.default_rng(seed)
    found = rng.normal(size=(count, engine.item_width)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def edit(engine: Engine, turn: int) -> None:
    """Insert new ids, one of them in a gap; delete, bring back, replace; compact at times."""
    engine.insert([1000 + turn, 141 + turn], vectors=vectors(engine, 2, turn))
    engine.delete([104, 105, 1000 + turn])
    engine.replace([106, 141 + turn], vectors=vectors(engine, 2, 50 + turn))
    engine.insert([105], vectors=vectors(engine, 1, 90 + turn))
    if turn % 2:
        engine.compact()
    engine.replace([108], vectors=vectors(engine, 1, 70 + turn))
    engine.insert([104], vectors=vectors(engine, 1, 95 + turn))


def assert_by_id_is_by_row(engine: Engine, deny: Sequence[int] | np.ndarray) -> None:
    """Lists and arrays are taken by id where that suits, tuples never."""
    plain = tuple(np.asarray(deny).tolist())
    for options in ({}, {"exclude_seen": False}, {"exact": True}, {"k": 60, "beam_width": 60}):
        options = {"k": 7, "beam_width": 7, **options}
        by_row = engine.recommend(HISTORIES, deny=plain, **options)
        by_id = engine.recommend(HISTORIES, deny=deny, **options)  # type: ignore[arg-type]
        assert by_id.items.tolist() == by_row.items.tolist()
        assert by_id.scores.tolist() == by_row.scores.tolist()
        assert by_id.certified.tolist() == by_row.certified.tolist()
        assert not set(plain) & set(by_id.items.ravel().tolist())


def live_mask(engine: Engine, deny: Sequence[int]) -> np.ndarray:
    """Which of the leaves that still exist each user may get."""
    state, request = engine.prepare(HISTORIES, k=1, beam_width=1, deny=deny)
    assert request.filters is not None
    live = state.leaves(np.arange(state.num_rows))
    return np.stack([request.filters.mask(b, state.num_leaves)[live] for b in range(3)])


@pytest.mark.parametrize("edits", [0, 1, 4])
def test_ids_deny_what_their_rows_deny(engine: Engine, edits: int) -> None:
    for turn in range(edits):
        edit(engine, turn)
    rng = np.random.default_rng(edits)
    base = [i for i in engine.items["item"].to_list()[:ITEMS] if i is not None]
    for count in (1, 2, 4, 5):
        deny = rng.choice(base, count).tolist()
        assert engine.state.denied_ids(deny) is not None
        assert_by_id_is_by_row(engine, deny)
        assert_by_id_is_by_row(engine, np.array(deny, np.int16))
        assert (live_mask(engine, deny) == live_mask(engine, tuple(deny))).all()
    # Replaced, deleted, and brought back.
    assert engine.state.denied_ids([104, 105, 106, 108]) is not None
    assert_by_id_is_by_row(engine, [104, 105, 106, 108])
    assert_by_id_is_by_row(engine, [108, 101, 108, 101, 108])


def test_what_does_not_suit_is_looked_up(engine: Engine) -> None:
    edit(engine, 0)
    everything = [i for i in engine.item_ids.ids(np.arange(len(engine.item_ids))) if i is not None]
    none: list[int] = []
    for deny in ([1000], [141], [101, 1000], [101, np.int64(102)], everything, none, (101, 102)):
        assert engine.state.denied_ids(deny) is None
        assert_by_id_is_by_row(engine, deny)
    assert engine.state.denied_ids(np.array([101, 102], np.uint64)) is None
    assert_by_id_is_by_row(engine, np.array([101, 102], np.uint64))
    assert engine.recommend(HISTORIES, deny=everything).items.tolist() == [[None] * 10] * 3


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize(
    "stranger", [99, 150, 2**62, 2**64, -1, -(2**63) - 1, True, "101", 101.0, None]
)
def test_unknown_ids_are_named_wherever_they_stand(
    engine: Engine, stranger: object, place: int
) -> None:
    deny: list[object] = [101, 102]
    deny.insert(place, stranger)
    assert engine.state.denied_ids(deny) is None  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="deny: unknown item id") as error:
        engine.recommend(HISTORIES, deny=deny)  # type: ignore[arg-type]
    assert repr(stranger) in str(error.value)


def test_an_id_in_a_gap_is_unknown_until_it_is_inserted(engine: Engine) -> None:
    assert engine.state.denied_ids([141]) is None
    with pytest.raises(RequestError, match="141"):
        engine.recommend(HISTORIES, deny=[141])
    before = engine.state
    engine.insert([141], vectors=vectors(engine, 1, 0))
    assert_by_id_is_by_row(engine, [141])
    # Who still has the earlier state sees no later item.
    assert before.denied_ids([141]) is None
    assert before.denied_ids([101]) is not None


def test_filters_by_id_combine_with_others_and_stay_off_a_device(engine: Engine) -> None:
    engine.set_filter("half", list(range(FIRST, FIRST + 20)))
    deny = [101, 102, 103]
    for options in ({"where": "half"}, {"where": "not half"}, {"allow": [101, 103, 109, 110]}):
        options = {"k": 40, "beam_width": 40, **options}
        found = [engine.recommend(HISTORIES, deny=d, **options) for d in (deny, tuple(deny))]
        assert found[0].items.tolist() == found[1].items.tolist()
        assert found[0].items[0, 0] is not None
    state, request = engine.prepare(HISTORIES, k=1, beam_width=1, deny=deny)
    assert request.filters is not None
    assert request.filters.deny_ids is not None
    more = request.filters.of_users(np.array([2, 0, 0])).padded(4)
    assert (more.mask(1, state.num_leaves) == request.filters.mask(0, state.num_leaves)).all()
    assert not more.mask(3, state.num_leaves).all()
    with pytest.raises(ValueError, match="a device takes"):
        more.prepared(state.catalog).pack(0)
