"""`POST /v1/recommend`: what comes back is what the engine says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from starlette.testclient import TestClient

from mmgrec.data.dataset import Dataset, Split
from mmgrec.serving.computing import Answer, UserItems
from mmgrec.serving.recommend import _json
from mmgrec_engine.engine import Engine
from serving_world import BEARER, client_of, copy_run


@pytest.fixture(scope="module")
def run(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_run(run_folder, tmp_path_factory.mktemp("recommend") / "run")


@pytest.fixture(scope="module")
def engine(run_folder: Path) -> Engine:
    return Engine.load(run_folder)


@pytest.fixture(scope="module")
def client(run: Path) -> Iterator[TestClient]:
    with client_of(run) as client:
        ids = ["i00", "i01", "i02", "i03"]
        client.put("/v1/filters/few", json={"ids": ids}, headers=BEARER).raise_for_status()
        yield client


def ask(client: TestClient, **body: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    answer = client.post("/v1/recommend", json=body)
    assert answer.status_code == 200, answer.text
    results: list[dict[str, Any]] = answer.json()["results"]
    return results


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"k": 3, "beam_width": 20},
        {"exclude_seen": False},
        {"deny": ["i07", "i09"]},
        {"allow": ["i07", "i09", "i11"], "k": 3},
        {"exact": True},
        {"exact": True, "exact_limit": 1},
    ],
    ids=str,
)
def test_histories_get_what_the_engine_says(
    client: TestClient, engine: Engine, options: dict[str, Any]
) -> None:
    histories = [["i01", "i03"], ["i00"], ["i02", "i04", "i06"]]
    found = engine.recommend(histories, **options)
    results = ask(client, histories=histories, **options)
    for row, result in enumerate(results):
        expected = [item for item in found.items[row] if item is not None]
        assert result["items"] == expected
        np.testing.assert_allclose(result["scores"], found.scores[row, : len(expected)], atol=1e-5)
        assert result["certified"] == found.certified[row]
        assert result["source"] == "model"
        if found.expanded is not None and found.limit_hit is not None:
            assert result["expanded"] == found.expanded[row]
            assert result["limit_hit"] == found.limit_hit[row]


def test_a_known_user_is_asked_for_with_the_training_history(
    client: TestClient, engine: Engine, dataset: Dataset
) -> None:
    rows = dataset.histories(Split.TRAIN).of(4)
    history = [dataset.items["item"][int(row)] for row in rows]
    (result,) = ask(client, users=["u4"])
    assert result["items"] == engine.recommend([history], users=["u4"]).items[0].tolist()
    (other,) = ask(client, users=["u4"], histories=[["i01"]])
    assert other["items"] == engine.recommend([["i01"]]).items[0].tolist()


def test_an_unknown_user_is_a_404_that_says_what_to_do(client: TestClient) -> None:
    answer = client.post("/v1/recommend", json={"users": ["u1", "nobody"]})
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["value"] == "'nobody'"
    assert "history" in problem["remedy"]


def test_without_a_history_the_most_popular_items_come_back(
    client: TestClient, engine: Engine
) -> None:
    results = ask(client, histories=[["i01"], []], k=4)
    assert [result["source"] for result in results] == ["model", "popular"]
    popularity = dict(zip(engine.items["item"], engine.items["popularity"], strict=True))
    counts = sorted(popularity.values(), reverse=True)[:4]
    assert [popularity[item] for item in results[1]["items"]] == counts
    assert results[1]["scores"] is None
    assert not results[1]["certified"]
    (few,) = ask(client, histories=[[]], k=9, where="few", deny=["i01"])
    assert set(few["items"]) == {"i00", "i02", "i03"}


def test_named_filters(client: TestClient) -> None:
    (result,) = ask(client, histories=[["i00"]], where="few")
    assert set(result["items"]) == {"i01", "i02", "i03"}
    answer = client.post("/v1/recommend", json={"histories": [["i00"]], "where": "many"})
    assert answer.status_code == 422
    assert answer.json()["allowed"] == "few"


def test_columns_come_along(client: TestClient) -> None:
    (result,) = ask(client, histories=[["i01"]], k=2, columns=["title"])
    assert result["columns"]["title"] == [f"Title {int(item[1:])}" for item in result["items"]]
    answer = client.post("/v1/recommend", json={"histories": [["i01"]], "columns": ["price"]})
    assert answer.status_code == 422


@pytest.mark.parametrize(
    ("body", "status", "part"),
    [
        ({}, 422, "nobody to recommend to"),
        ({"histories": [["i01"]], "k": 0}, 422, "k"),
        ({"histories": [["i01"]], "k": True}, 422, "k"),
        ({"histories": [["i01"]], "k": 10**6}, 422, "k is beyond"),
        ({"histories": [["i01"]], "beam_width": 10**9}, 422, "beam_width is beyond"),
        ({"histories": [["i01"]], "exact_limit": 10**9}, 422, "exact_limit is beyond"),
        ({"histories": [["i01"]] * 300}, 422, "number of users"),
        ({"histories": [["i01"] * 20_000]}, 422, "length of a history"),
        ({"histories": [["i01"], ["x"]]}, 422, "history 1: unknown item"),
        ({"histories": [[1]]}, 422, "history 0: unknown item"),
        ({"histories": [[10**40]]}, 422, "history 0: unknown item"),
        ({"histories": [[None]]}, 422, "histories.0.0"),
        ({"histories": "i01"}, 422, "histories"),
        ({"histories": [["i01"]], "users": ["u1", "u2"]}, 422, "differ in number"),
        ({"histories": [["i01"]], "deadline_ms": 0}, 422, "deadline_ms"),
        ({"histories": [["i01"]], "kay": 3}, 422, "kay"),
        ({"histories": [["i01"]], "where": "few and"}, 422, "cannot be read"),
        ({"histories": [["i01"]], "allow": ["x"]}, 422, "allow: unknown item"),
        ([], 422, ""),
    ],
    ids=lambda value: str(value)[:60],
)
def test_bad_requests_are_problems(
    client: TestClient, body: object, status: int, part: str
) -> None:
    answer = client.post("/v1/recommend", json=body)
    assert answer.status_code == status, answer.text
    problem = answer.json()
    assert part in problem["detail"]
    assert problem["status"] == status
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert "Traceback" not in answer.text


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b'{"histories": NaN}',
        b'{"histories": [["i01"]], "deadline_ms": NaN}',
        b'{"histories": [["i01"]], "deadline_ms": Infinity}',
        b'{"histories": [["i01"]], "deadline_ms": 1e999}',
        b"[" * 100_000,
        b'{"histories": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
        b'{"histories": [[' + b"9" * 5_000 + b"]]}",
        b'{"histories": [["\\ud800"]]}',
    ],
    ids=lambda value: str(value[:40]),
)
def test_malformed_bodies_are_4xx_and_the_server_lives(client: TestClient, body: bytes) -> None:
    answer = client.post("/v1/recommend", content=body)
    assert answer.status_code in (400, 422), answer.text
    assert client.post("/v1/recommend", json={"histories": [["i01"]]}).status_code == 200


def test_a_long_body_is_a_413(run: Path) -> None:
    from mmgrec.serving.options import Limits

    with client_of(run, limits=Limits(body_bytes=1000)) as client:
        body = json.dumps({"histories": [["i01"] * 500]}).encode()
        assert client.post("/v1/recommend", content=body).status_code == 413
        pieces = (body[i : i + 100] for i in range(0, len(body), 100))  # no content-length
        assert client.post("/v1/recommend", content=pieces).status_code == 413


def test_numbers_that_json_has_not_are_null(client: TestClient) -> None:
    models = client.app.state.serving.models
    served = models.current
    table = served.engine.items.with_columns(price=pl.lit(float("nan")))
    engine = SimpleNamespace(items=table, item_ids=served.engine.item_ids)
    answer = Answer(replace(served, engine=engine), [UserItems(["i01"], [-1.0])])
    assert json.loads(_json(answer, ["price"]))["results"][0]["columns"] == {"price": [None]}
    models.current = answer.model
    try:
        shown = client.get("/v1/items/i01")
    finally:
        models.current = served
    assert shown.status_code == 200, shown.text
    assert shown.json()["columns"]["price"] is None


def test_a_bad_request_fails_alone(client: TestClient, engine: Engine) -> None:
    from mmgrec.serving.batcher import Call, Job
    from mmgrec.serving.computing import Computing

    computing = Computing(client.app.state.serving.models)
    call = Call(5, 20)
    jobs = [
        Job(call, histories, None, 0.0, None)  # type: ignore[arg-type]
        for histories in ([["i01"]], [["i02"], ["x"]], [["i03"]])
    ]
    first, bad, last = computing(call, jobs)
    assert "history 1: unknown item" in str(bad)
    for answer, history in ((first, "i01"), (last, "i03")):
        expected = engine.recommend([[history]], k=5, beam_width=20).items[0].tolist()
        assert answer.users[0].items == expected
