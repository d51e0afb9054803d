"""Editing an engine's items while it answers: insert, delete, replace, compact, reload."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mmgrec.data.dataset import Dataset
from mmgrec.training.pipeline import Run, train_run
from mmgrec_engine.catalog.state import base_leaves
from mmgrec_engine.catalog.trie import Trie
from mmgrec_engine.engine import Engine
from mmgrec_engine.errors import ArtifactError, EditError, MMGRecError, RequestError
from mmgrec_engine.model_folder import ModelFolder, load_model_folder
from tests_shared import quiet_reporter, small_config

EVEN, ODD = ["i02", "i06", "i10", "i14"], ["i03", "i07", "i11", "i15"]


@pytest.fixture
def folder(run_folder: Path, tmp_path: Path) -> Path:
    """A copy of the run, to be edited."""
    copy = tmp_path / "run"
    shutil.copytree(run_folder, copy, ignore=shutil.ignore_patterns("training", "tokenizer"))
    return copy


@pytest.fixture
def engine(folder: Path) -> Iterator[Engine]:
    engine = Engine.load(folder)
    yield engine
    engine.close()


def features(count: int, *, odd: bool, seed: int = 0) -> dict[str, np.ndarray]:
    """Features of new items of one taste."""
    values = np.random.default_rng(seed).normal(size=(count, 6)).astype(np.float32) * 0.3
    values[:, 0] += 3.0 * odd
    return {"visual": values}


def scores(engine: Engine, histories: list[list[str]], **options: object) -> list[dict[str, float]]:
    """Score of every item that is found, all of them by default."""
    options = {"k": 120, "beam_width": 120, "exclude_seen": False, **options}
    found = engine.recommend(histories, **options)
    return [
        {i: float(s) for i, s in zip(*row, strict=True) if i is not None}
        for row in zip(found.items.tolist(), found.scores.tolist(), strict=True)
    ]


def assert_same(a: list[dict[str, float]], b: list[dict[str, float]]) -> None:
    for one, other in zip(a, b, strict=True):
        assert one.keys() == other.keys()
        assert np.allclose([one[i] for i in one], [other[i] for i in one], atol=1e-4)


def edited(engine: Engine) -> Engine:
    """Make edits of all kinds."""
    engine.insert([f"n{i}" for i in range(9)], features(9, odd=True))
    engine.insert(["e0", "e1"], features(2, odd=False, seed=1), columns={"title": ["E 0", None]})
    engine.delete(["i00", "i01", "n3", "n4"])
    engine.replace(["i10", "n5", "e1"], features(3, odd=True, seed=2))
    engine.insert(["i00", "n3"], features(2, odd=False, seed=3))
    engine.delete(["i00"])
    engine.replace(["i10", "i12"], features(2, odd=False, seed=4))
    return engine


GONE = {"i00", "i01", "n4"}
LIVE = {f"i{i:02d}" for i in range(40)} | {f"n{i}" for i in range(9)} | {"e0", "e1"}
LIVE -= GONE


def fresh(engine: Engine) -> Engine:
    """Build an engine from nothing but the codes and vectors of another's items."""
    state = engine._live.state
    snapshot = state.catalog
    codes, rows = snapshot.codes(), snapshot.ids().astype(np.int64)
    trie, order = Trie.build(codes, snapshot.level_sizes)
    assert order.tolist() == list(range(len(order)))  # they came in leaf order
    artifact = engine._live._folder
    weights = {**artifact.weights, "item_vectors": state.vectors[state.slots_of(rows)]}
    items = pl.DataFrame({"item": state.ids.ids(rows).tolist()})
    return Engine(ModelFolder(artifact.config, weights, trie, items, None))


def test_a_new_item_is_recommended_at_once_to_those_who_like_its_kind(engine: Engine) -> None:
    new = [f"new{i}" for i in range(8)]
    rec_ids = engine.insert(new, features(8, odd=True))
    assert len(np.unique(rec_ids, axis=0)) == 8
    odd, even = (set(engine.recommend([h], k=20).items[0]) for h in (ODD, EVEN))
    assert len(odd & set(new)) > len(even & set(new))
    assert odd & set(new)
    # It may be in a history, too.
    assert "new0" not in engine.recommend([["new0", "i03"]], k=40).items[0].tolist()


def test_deleted_items_are_never_found_and_still_count_in_histories(engine: Engine) -> None:
    before = engine.recommend([ODD], k=40).scores
    engine.delete(ODD[:2])
    found = engine.recommend([ODD], k=40)
    assert not set(ODD) & set(found.items[0].tolist())
    assert before.shape == found.scores.shape
    kept = scores(engine, [ODD], deny=["i03", "i20"], allow=["i03", "i20", "i21"])
    assert set(kept[0]) == {"i21"}


def test_a_replaced_item_follows_its_features(engine: Engine) -> None:
    engine.insert(["x"], features(1, odd=False))
    as_even = scores(engine, [ODD, EVEN])
    engine.replace(["x"], features(1, odd=True))
    as_odd = scores(engine, [ODD, EVEN])
    gain = [b["x"] - a["x"] for a, b in zip(as_even, as_odd, strict=True)]
    assert gain[0] > gain[1]
    assert len(as_odd[0]) == 41


def test_the_scores_of_all_live_items_sum_to_one(engine: Engine) -> None:
    for found in scores(edited(engine), [ODD, EVEN, ["n3", "i00"]]):
        assert set(found) == LIVE
        assert np.isclose(np.exp(list(found.values())).sum(), 1.0, atol=1e-4)


def test_edits_equal_a_fresh_engine_before_and_after_compaction(engine: Engine) -> None:
    histories = [ODD, EVEN, ["n3", "i12"], ["i10", "e1"]]
    found = scores(edited(engine), histories)
    assert_same(found, scores(fresh(engine), histories))
    engine.compact()
    assert engine._live.state.catalog.pending == 0
    assert_same(found, scores(engine, histories))
    # Edits go on over the new base, whose leaves are in another order than the rows.
    engine.insert(["late"], features(1, odd=True))
    engine.replace(["i12", "n5"], features(2, odd=True, seed=9))
    engine.delete(["i20", "n6"])
    assert_same(scores(engine, histories), scores(fresh(engine), histories))


def test_exact_search_takes_edits(engine: Engine) -> None:
    histories = [ODD, EVEN, ["n3", "i12"]]
    options: dict[str, object] = {"k": 12, "beam_width": 2, "exact": True}
    found = scores(edited(engine), histories, **options)
    assert_same(found, scores(fresh(engine), histories, **options))
    everything = scores(engine, histories)
    for best, of_all in zip(found, everything, strict=True):
        assert set(best) == set(sorted(of_all, key=lambda i: -of_all[i])[:12])


def test_an_item_that_returns_to_its_base_leaf_has_its_new_vector(engine: Engine) -> None:
    live = engine._live
    rng = np.random.default_rng(0)
    width = live.state.vectors.shape[1]
    for _ in range(30):
        vectors = rng.normal(size=(3, width)).astype(np.float32)
        engine.replace(["i04", "i05", "i06"], vectors=vectors)
    rows = engine.item_ids.rows(["i04"], "test")
    engine.replace(["i04"], vectors=live._vectors[rows] * 1.01)
    state = live.state
    assert state.leaves_or_gone(rows)[0] < base_leaves(state.catalog)
    assert_same(scores(engine, [ODD, EVEN]), scores(fresh(engine), [ODD, EVEN]))


@pytest.mark.parametrize("normalise", ["catalogue", "full"])
def test_a_model_without_node_vectors_is_edited_alike(folder: Path, normalise: str) -> None:
    artifact = load_model_folder(folder)
    config = artifact.config.model_copy(update={"node_vectors": False, "normalise": normalise})
    weights = {n: w for n, w in artifact.weights.items() if not n.startswith("head.query")}
    engine = edited(Engine(replace(artifact, config=config, weights=weights)))
    found = scores(engine, [ODD, EVEN])
    assert_same(found, scores(fresh(engine), [ODD, EVEN]))
    engine.compact()
    assert_same(found, scores(engine, [ODD, EVEN]))
    engine.close()


def test_reloading_after_the_newest_item_is_gone_from_the_base(
    engine: Engine, folder: Path
) -> None:
    engine.insert(["x", "y"], features(2, odd=True))
    engine.compact()
    engine.delete(["y"])
    found = scores(engine, [ODD, ["x"]])
    engine.close()
    again = Engine.load(folder)
    assert_same(found, scores(again, [ODD, ["x"]]))
    again.insert(["z"], features(1, odd=True, seed=5))
    assert_same(scores(again, [ODD]), scores(fresh(again), [ODD]))
    again.close()


@pytest.mark.parametrize("compacted", [False, True])
def test_reloading_shows_the_edits(engine: Engine, folder: Path, compacted: bool) -> None:
    histories = [ODD, EVEN, ["n3", "i12"]]
    found = scores(edited(engine), histories)
    if compacted:
        engine.compact()
    again = Engine.load(folder)  # reads while the other may write
    assert_same(found, scores(again, histories))
    assert again.items.filter(pl.col("item") == "e0")["title"].to_list() == ["E 0"]
    with pytest.raises(ArtifactError, match="open for writing already"):
        again.delete(["i20"])
    engine.close()
    again.delete(["i20"])
    assert set(scores(again, [ODD])[0]) == LIVE - {"i20"}
    # The first one sees it when it takes the right to write again.
    again.close()
    engine.insert(["last"], features(1, odd=True))
    assert set(scores(engine, [ODD])[0]) == LIVE - {"i20"} | {"last"}


def test_the_items_table_follows(engine: Engine, dataset: Dataset) -> None:
    before = engine.items
    edited(engine)
    table = engine.items
    assert table.columns == before.columns
    assert table.schema == before.schema
    assert len(table) == len(engine.item_ids) == dataset.num_items + 13
    row = int(engine.item_ids.rows(["e0"], "test")[0])
    assert table["title"][row] == "E 0"
    gone = int(engine.item_ids.rows(["i01"], "test")[0])
    assert table["token_0"][gone] is None
    live = table.drop_nulls("token_0")
    assert set(live["item"]) == LIVE
    tokens = [c for c in table.columns if c.startswith("token_")]
    assert live.select(tokens).n_unique() == len(LIVE)


def test_requests_go_on_while_items_are_edited(engine: Engine) -> None:
    stop, failures = threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            found = scores(engine, [ODD, EVEN])
            sums = [np.exp(list(row.values())).sum() for row in found]
            if not np.allclose(sums, 1.0, atol=1e-3):
                failures.append(sums)

    def guarded() -> None:
        try:
            read()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded) for _ in range(2)]
    for thread in threads:
        thread.start()
    for turn in range(12):
        ids = [f"t{turn}.{i}" for i in range(3)]
        # Vectors from everywhere: features of two tastes would soon fill the groups they lead to.
        vectors = np.random.default_rng(turn).normal(size=(5, 16)).astype(np.float32)
        engine.insert(ids, vectors=vectors[:3])
        engine.replace([ids[0], f"i{turn + 10}"], vectors=vectors[3:])
        engine.delete(ids[1:])
        if turn % 5 == 4:
            engine.compact()
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(scores(engine, [ODD])[0]) == 40 + 12


def bad_edits(engine: Engine) -> list[tuple[str, object]]:
    """Calls that must be refused, with what they have to say."""
    good = features(2, odd=True)
    hole = {"visual": np.full((2, 6), np.nan)}
    new = ["a", "b"]
    return [
        ("another shape", lambda: engine.insert(new, {"visual": np.zeros((2, 5))})),
        ("NaN or infinity", lambda: engine.insert(new, hole)),
        ("unknown modality", lambda: engine.insert(new, {"smell": np.zeros((2, 6))})),
        ("is no mask", lambda: engine.insert(new, good, {"visual": np.ones(2)})),
        ("given twice", lambda: engine.insert(["a", "a"], good)),
        ("an id that an item has", lambda: engine.insert(["a", "i03"], good)),
        ("of another type", lambda: engine.insert(["a", 7], good)),
        ("unknown column", lambda: engine.insert(new, good, columns={"colour": [1, 2]})),
        ("differ in number", lambda: engine.insert(new, good, columns={"title": ["A"]})),
        ("another type", lambda: engine.insert(new, good, columns={"title": [1, 2]})),
        ("not a list", lambda: engine.insert("ab", good)),
        ("features or vectors", lambda: engine.insert(new)),
        ("another shape", lambda: engine.insert(new, vectors=np.zeros((2, 3)))),
        ("too long for any Rec-ID", lambda: engine.insert(new, vectors=np.full((2, 16), 1e25))),
        ("NaN or infinity", lambda: engine.insert(new, vectors=np.full((2, 16), 1e99))),
        ("no matrix", lambda: engine.insert(new, vectors=[[10**400] * 16] * 2)),
        ("cannot be stored", lambda: engine.insert(["\ud800", "b"], good)),
        ("unknown item id", lambda: engine.delete(["i03", "nope"])),
        ("given twice", lambda: engine.delete(["i03", "i03"])),
        ("deleted already", lambda: engine.delete(["i03", "i01"])),
        ("deleted already", lambda: engine.replace(["i03", "i01"], good)),
        ("unknown item id", lambda: engine.replace(["i03", "a"], good)),
        ("given twice", lambda: engine.replace(["i03", "i03"], good)),
    ]


def test_bad_edits_are_named_and_change_nothing(engine: Engine) -> None:
    engine.delete(["i01"])
    before = scores(engine, [ODD])
    sequence = engine._live._catalog.sequence
    for message, call in bad_edits(engine):
        with pytest.raises((RequestError, EditError), match=message):
            call()
    assert engine._live._catalog.sequence == sequence
    assert_same(scores(engine, [ODD]), before)


def test_empty_edits_make_nothing(engine: Engine, folder: Path) -> None:
    assert engine.insert([], {"visual": np.zeros((0, 6))}).shape == (0, 3)
    engine.delete([])
    engine.compact()
    assert not (folder / "catalog").exists()


def test_items_may_lack_a_modality_or_bring_their_own_vector(engine: Engine) -> None:
    values = {"visual": np.full((2, 6), np.nan, np.float32)}
    values["visual"][0] = 1.0
    engine.insert(["has", "lacks"], values, {"visual": np.array([True, False])})
    engine.insert(["bare"], {})
    rows = engine.item_ids.rows(["lacks", "bare"], "test")
    state = engine._live.state
    lacks, bare = state.vectors[state.slots_of(rows)]
    assert np.allclose(lacks, bare, atol=1e-6)
    own = np.ones((1, len(bare)), np.float32) / len(bare) ** 0.5
    engine.insert(["own"], vectors=own)
    assert len(scores(engine, [["own"]])[0]) == 44


def test_a_deleted_catalogue_can_be_filled_again(engine: Engine, dataset: Dataset) -> None:
    engine.delete(dataset.items["item"].to_list())
    assert engine.recommend([ODD], k=3).items.tolist() == [[None] * 3]
    engine.compact()
    for exact in (False, True):
        assert engine.recommend([ODD], k=3, exact=exact).items.tolist() == [[None] * 3]
    engine.insert(["only"], features(1, odd=True))
    assert engine.recommend([ODD], k=3).items.tolist() == [["only", None, None]]


def test_damage_is_a_clear_error(engine: Engine, folder: Path) -> None:
    edited(engine).compact()
    engine.delete(["i21"])
    engine.close()
    files = [path for path in (folder / "catalog").iterdir() if path.name != "writer.lock"]
    assert len(files) >= 6
    for path in files:
        content = path.read_bytes()
        for damaged in (content[: len(content) // 2], None):
            if damaged is None:
                path.unlink()
            else:
                path.write_bytes(damaged)
            if not (path.suffix == ".log" and damaged is not None):  # its torn end is cut off
                with pytest.raises(ArtifactError, match=r"catalog"):
                    Engine.load(folder)
            path.write_bytes(content)
    assert set(scores(Engine.load(folder), [ODD])[0]) == LIVE - {"i21"}


def test_a_newly_trained_artifact_refuses_the_edits(
    engine: Engine, folder: Path, dataset: Dataset
) -> None:
    engine.delete(["i01"])
    engine.close()
    run = Run(folder, dataset, small_config(), "test", 1)
    train_run(run, quiet_reporter(run.work / "logs"))
    with pytest.raises(ArtifactError, match="edits of another artifact") as caught:
        Engine.load(folder)
    assert "move the folder away" in str(caught.value)
    (folder / "catalog").rename(folder / "old")
    assert len(scores(Engine.load(folder), [ODD])[0]) == dataset.num_items


def test_an_artifact_without_its_tokeniser_loads_and_refuses_inserts(folder: Path) -> None:
    manifest = json.loads((folder / "config.json").read_text())
    del manifest["config"]["tokenizer"]
    (folder / "config.json").write_text(json.dumps(manifest))
    engine = Engine.load(folder)
    with pytest.raises(ArtifactError, match="train again"):
        engine.insert(["a"], features(1, odd=True))
    engine.delete(["i01"])
    assert len(scores(engine, [ODD])[0]) == 39


def test_an_artifact_that_was_written_again_refuses_inserts(engine: Engine, folder: Path) -> None:
    manifest = json.loads((folder / "config.json").read_text())
    for path in (folder / "features.safetensors", folder / "codebooks.safetensors"):
        path.write_bytes(path.read_bytes()[:-1])
    (folder / "config.json").write_text(json.dumps(manifest))
    with pytest.raises(MMGRecError, match="truncated or was changed"):
        engine.insert(["a"], features(1, odd=True))


def brute(engine: Engine, names: dict[str, set[str]], where: str) -> set[str]:
    found = scores(engine, [ODD])[0]
    return {i for i in found if eval(where, {}, {n: i in s for n, s in names.items()})}


def test_named_filters_equal_brute_force(engine: Engine) -> None:
    rng = np.random.default_rng(0)

    def upload() -> dict[str, set[str]]:
        known = [i for i in engine.item_ids.ids(np.arange(len(engine.item_ids))) if i is not None]
        names = {n: set(rng.choice(known, 15).tolist()) for n in ("stock", "adult", "new")}
        for name, ids in names.items():
            engine.set_filter(name, sorted(ids))
        return names

    expressions = ["stock", "not adult", "stock and not adult", "(stock or new) and not adult"]
    for turn in range(3):
        names = upload()
        assert engine.filter_names() == ["adult", "new", "stock"]
        for where in expressions:
            want = brute(engine, names, where)
            assert set(scores(engine, [ODD], where=where)[0]) == want
            found = engine.recommend([ODD], k=3, beam_width=3, exclude_seen=False, where=where)
            assert len(set(found.items[0].tolist()) & want) == min(3, len(want))
        if turn == 0:
            edited(engine)
            names["new"] &= LIVE  # what was deleted and came again is a new item
            engine.set_filter("new", sorted(names["new"]))
        else:
            engine.compact()
            assert set(scores(engine, [ODD], where="stock")[0]) == brute(engine, names, "stock")


def test_later_items_are_in_no_filter_until_it_is_set_again(engine: Engine) -> None:
    engine.set_filter("stock", ODD)
    engine.insert(["x"], features(1, odd=True))
    assert set(scores(engine, [EVEN], where="stock")[0]) == set(ODD)
    assert "x" in scores(engine, [EVEN], where="not stock")[0]
    engine.set_filter("stock", ["x"])
    assert engine.recommend([ODD], k=2, where="stock").items.tolist() == [["x", None]]
    denied = engine.recommend([ODD], k=1, where="stock", deny=["x"])
    assert denied.items.tolist() == [[None]]


def test_bad_filters_are_named(engine: Engine) -> None:
    with pytest.raises(RequestError, match="filter 'stock': unknown item id"):
        engine.set_filter("stock", ["nope"])
    with pytest.raises(RequestError, match="cannot have this name"):
        engine.set_filter("in stock", ODD)
    with pytest.raises(RequestError, match=r"unknown filter\n.*'stock'"):
        engine.recommend([ODD], where="stock")
    engine.set_filter("stock", ODD)
    with pytest.raises(RequestError, match="cannot be read"):
        engine.recommend([ODD], where="stock and")
    engine.remove_filter("stock")
    with pytest.raises(RequestError, match="unknown filter"):
        engine.remove_filter("stock")
    assert engine.filter_names() == []
