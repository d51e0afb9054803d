"""`Scorer`: a table of users in, a table of their items out, as the engine recommends them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from mmgrec.data.dataset import Dataset, Split
from mmgrec.scoring.scorer import Scorer
from mmgrec.scoring.settings import OnError, ScoreSettings
from mmgrec_engine.engine import Engine
from mmgrec_engine.errors import ArtifactError, DataError, RequestError

# Repeats, one item, more items than the model is shown.
HISTORIES = [
    ["i01", "i03", "i01", "i05"],
    ["i00"],
    [f"i{i:02d}" for i in range(36)],
    ["i39", "i02"],
]
SETTINGS = ScoreSettings(k=5, beam_width=40)


@pytest.fixture(scope="module")
def scorer(run_folder: Path) -> Scorer:
    return Scorer(run_folder, SETTINGS)


def users(**columns: Any) -> pa.Table:  # noqa: ANN401
    names = {"user": [f"u{i}" for i in range(len(HISTORIES))], "history": HISTORIES}
    return pa.table({**names, **columns})


def of_user(results: pa.Table, user: object) -> list[str]:
    part = pl.DataFrame(results).filter(pl.col("user") == user)
    assert part["rank"].to_list() == list(range(1, len(part) + 1))
    return part["item"].to_list()


def test_results_are_the_engines(scorer: Scorer) -> None:
    results = scorer(users())
    assert results.column_names == ["user", "item", "score", "rank", "certified"]
    found = scorer.engine.recommend(HISTORIES, k=5, beam_width=40)
    assert [i for i in found.items.ravel() if i is not None] == results["item"].to_pylist()
    assert results["score"].to_numpy().tolist() == found.scores[found.scores > -np.inf].tolist()
    for user, items, certified in zip(users()["user"], found.items, found.certified, strict=True):
        name = user.as_py()
        assert of_user(results, name) == [item for item in items if item is not None]
        flags = pl.DataFrame(results).filter(pl.col("user") == name)["certified"]
        assert set(flags.to_list()) == {bool(certified)}


@pytest.mark.parametrize(
    "history",
    [
        pa.large_list(pa.string()),
        pa.list_(pa.large_string()),
        pa.list_(pa.dictionary(pa.int32(), pa.string())),
    ],
    ids=str,
)
def test_any_list_type_will_do(scorer: Scorer, history: pa.DataType) -> None:
    table = pa.table({"user": ["a", "b", "c", "d"], "history": pa.array(HISTORIES, history)})
    assert scorer(table)["item"] == scorer(users())["item"]
    sliced = scorer(pa.concat_tables([table, table]).slice(3, 2))
    expected = scorer.engine.recommend([HISTORIES[3], HISTORIES[0]], k=5, beam_width=40)
    assert sliced["item"].to_pylist() == expected.items.ravel().tolist()


def test_nobody_gets_nothing(scorer: Scorer) -> None:
    results = scorer(users().slice(0, 0))
    assert results.schema == scorer(users()).schema
    assert len(results) == 0


def test_lists_of_one_length(scorer: Scorer) -> None:
    pairs = [["i01", "i03"], ["i00", "i07"]]
    table = pa.table({"user": [1, 2], "history": pa.array(pairs, pa.list_(pa.string(), 2))})
    expected = scorer.engine.recommend(pairs, k=5, beam_width=40).items.ravel().tolist()
    assert scorer(table)["item"].to_pylist() == expected


def test_filters_of_a_row(run_folder: Path, tmp_path: Path) -> None:
    for name, items in (("even", range(0, 40, 2)), ("low", range(20))):
        ids = [f"i{item:02d}" for item in items]
        pl.DataFrame({"item": ids}).write_parquet(tmp_path / f"{name}.parquet")
    filters = {name: tmp_path / f"{name}.parquet" for name in ("even", "low")}
    settings = SETTINGS.model_copy(update={"filters": filters, "where": "even"})
    scorer = Scorer(run_folder, settings)
    results = scorer(
        users(
            allow=pa.array([None, ["i04", "i06"], None, []], pa.list_(pa.string())),
            deny=pa.array([["i02", "i04"], None, [], None], pa.list_(pa.string())),
            where=[None, "even", "not low", None],
        )
    )
    alone: list[dict[str, Any]] = [
        {"where": "even", "deny": ["i02", "i04"]},
        {"where": "even", "allow": ["i04", "i06"]},
        {"where": "not low"},
    ]
    for row, asked in enumerate(alone):
        expected = scorer.engine.recommend([HISTORIES[row]], k=5, beam_width=40, **asked)
        wanted = [item for item in expected.items[0] if item is not None]
        assert of_user(results, f"u{row}") == wanted
    assert of_user(results, "u3") == []


def test_known_users_need_no_history(scorer: Scorer, dataset: Dataset) -> None:
    train = dataset.histories(Split.TRAIN)
    rows = [5, 0, 17]
    results = scorer(pa.table({"user": [f"u{row}" for row in rows]}))
    for row in rows:
        history = dataset.items["item"][train.of(row)].to_list()
        expected = scorer.engine.recommend([history], k=5, beam_width=40)
        assert of_user(results, f"u{row}") == expected.items[0].tolist()


FAULTY = pa.table(
    {
        "user": ["a", None, "c", "d", "e", "f", "g"],
        "history": [["i01"], ["i01"], [], None, ["i01", "zz"], ["i02"], ["i03"]],
        "deny": [None, None, None, None, None, ["i05", "yy"], None],
        "where": [None, None, None, None, None, None, "nowhere"],
    }
)


def test_a_row_that_cannot_be_scored_stops_the_job(scorer: Scorer) -> None:
    for row, message in (
        (1, "the user is null"),
        (2, "the history is empty"),
        (3, "the history is empty"),
        (4, "unknown item id 'zz' in 'history'"),
        (5, "unknown item id 'yy' in 'deny'"),
        (6, "unknown filter 'nowhere'"),
    ):
        with pytest.raises(RequestError, match=f"row {100 + row} of the input") as caught:
            scorer.score(FAULTY.slice(row, 1), 100 + row)
        assert message in str(caught.value)
    with pytest.raises(RequestError, match="row 101 of the input"):
        scorer.score(FAULTY, 100)
    with pytest.raises(RequestError, match=r"row 4 of the input \(user 'e'\)"):
        scorer(pa.concat_tables([FAULTY.slice(0, 1)] * 4 + [FAULTY.slice(4)]))


def test_or_is_skipped_and_reported(run_folder: Path) -> None:
    scorer = Scorer(run_folder, SETTINGS, on_error=OnError.skip)
    scored = scorer.score(FAULTY, 100)
    assert set(scored.results["user"].to_pylist()) == {"a"}
    assert scored.rejects["row"].to_pylist() == [101, 102, 103, 104, 105, 106]
    assert scored.rejects["user"].to_pylist() == [None, "c", "d", "e", "f", "g"]
    assert (scored.users, scored.dropped) == (7, 0)
    assert len(scorer.score(FAULTY.slice(1, 3), 0).results) == 0


def test_unknown_items_can_be_left_out(run_folder: Path) -> None:
    settings = SETTINGS.model_copy(update={"drop_unknown": True})
    scorer = Scorer(run_folder, settings, on_error=OnError.skip)
    scored = scorer.score(FAULTY, 0)
    assert scored.rejects["row"].to_pylist() == [1, 2, 3, 6]
    assert scored.dropped == 2
    found = scorer.engine.recommend([["i01"]], k=5, beam_width=40).items[0].tolist()
    assert of_user(scored.results, "e") == found


def test_tables_that_do_not_fit_are_refused(scorer: Scorer, run_folder: Path) -> None:
    for table, message in (
        (pa.table({"history": HISTORIES}), "without users' names"),
        (pa.table({"user": [1], "history": [[7]]}), "'history' cannot hold item ids"),
        (pa.table({"user": [1], "history": ["i01"]}), "'history' is no list"),
        (pa.table({"user": [1]}), "'user' cannot hold user ids"),
        (pa.table({"user": [1], "history": [["i01"]], "where": [1]}), "'where' is no text"),
    ):
        with pytest.raises(DataError, match=message):
            scorer(table)
    with pytest.raises(ArtifactError, match="not the artifact"):
        Scorer(run_folder, fingerprint="another")
    with pytest.raises(RequestError, match="unknown filter"):
        Scorer(run_folder, ScoreSettings(where="in_stock"))


def test_an_edited_catalogue_is_scored_as_it_is(run_folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run_folder, copy, ignore=shutil.ignore_patterns("training", "tokenizer"))
    engine = Engine.load(copy)
    vectors = np.eye(2, engine.item_width, dtype=np.float32)
    engine.insert(["new1", "new2"], vectors=vectors)
    engine.delete(["i07", "i08"])
    scorer = Scorer(copy, ScoreSettings(k=40, beam_width=60))
    table = pa.table({"user": [1, 2], "history": [["new1", "i07"], ["i01"]], "deny": [["i08"], []]})
    results = scorer(table)
    expected = engine.recommend([["new1", "i07"]], k=40, beam_width=60, deny=["i08"]).items[0]
    assert of_user(results, 1) == [item for item in expected if item is not None]
    assert "new2" in of_user(results, 1)
    assert not {"i07", "i08"} & set(results["item"].to_pylist())
