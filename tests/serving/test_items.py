"""Live edits over HTTP, and who may make them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from mmgrec_engine.engine import Engine
from serving_world import BEARER, client_of, copy_run, vector, wait_until


@pytest.fixture
def run(run_folder: Path, tmp_path: Path) -> Path:
    return copy_run(run_folder, tmp_path / "run")


@pytest.fixture
def client(run: Path) -> Iterator[TestClient]:
    with client_of(run) as client:
        yield client


def all_items(client: TestClient, **more: Any) -> list[Any]:  # noqa: ANN401
    body = {"histories": [["i01"]], "k": 60, "exclude_seen": False, **more}
    items: list[Any] = client.post("/v1/recommend", json=body).json()["results"][0]["items"]
    return items


def test_an_item_comes_changes_and_goes(client: TestClient, run: Path) -> None:
    body = {
        "ids": ["n0", "n1"],
        "vectors": [vector(0), vector(1)],
        "columns": {"title": ["A", "B"]},
    }
    answer = client.post("/v1/items", json=body, headers=BEARER)
    assert answer.status_code == 200, answer.text
    assert [len(tokens) for tokens in answer.json()["rec_ids"]] == [3, 3]
    assert {"n0", "n1"} <= set(all_items(client))
    shown = client.get("/v1/items/n0").json()
    assert shown["live"]
    assert shown["columns"]["title"] == "A"
    assert shown["rec_id"] == answer.json()["rec_ids"][0]

    moved = {"ids": ["n0"], "vectors": [vector(2)], "replace": True}
    assert client.post("/v1/items", json=moved, headers=BEARER).status_code == 200
    assert client.request("DELETE", "/v1/items", json={"ids": ["i05"]}, headers=BEARER).is_success
    assert client.delete("/v1/items/n1", headers=BEARER).is_success
    left = set(all_items(client))
    assert "n0" in left
    assert not {"n1", "i05"} & left
    assert client.get("/v1/items/i05").json() | {"columns": None} == {
        "id": "i05",
        "live": False,
        "rec_id": None,
        "columns": None,
    }
    text = client.get("/metrics").text
    assert 'mmgrec_edited_items_total{kind="delete"} 2.0' in text
    assert "mmgrec_items 40.0" in text
    assert "n0" in Engine.load(run).recommend([["i01"]], k=60).items[0]


def test_features_make_the_vector_of_a_new_item(client: TestClient) -> None:
    body = {"ids": ["n0"], "features": {"visual": [[0.5] * 6]}}
    assert client.post("/v1/items", json=body, headers=BEARER).status_code == 200
    assert "n0" in all_items(client)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/items", {"ids": ["n0"], "vectors": [vector(0)]}),
        ("DELETE", "/v1/items", {"ids": ["i00"]}),
        ("DELETE", "/v1/items/i00", None),
        ("PUT", "/v1/filters/few", {"ids": ["i00"]}),
        ("DELETE", "/v1/filters/few", None),
        ("POST", "/v1/reload", None),
    ],
)
def test_no_token_no_edit(client: TestClient, method: str, path: str, body: object) -> None:
    for headers in (
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": BEARER["authorization"].replace("Bearer", "Basic")},
        {"authorization": "Bearer \u00e9".encode("latin-1")},
    ):
        answer = client.request(method, path, json=body, headers=headers)
        assert answer.status_code == 401, answer.text
        assert answer.headers["www-authenticate"] == "Bearer"
    assert len(all_items(client)) == 40
    assert client.get("/v1/filters").json() == {"filters": []}


def test_a_server_without_a_token_takes_no_edits(run: Path) -> None:
    with client_of(run, token=None) as client:
        answer = client.delete("/v1/items/i00", headers=BEARER)
        assert answer.status_code == 403
        assert "MMGREC_SERVE_TOKEN" in answer.json()["remedy"]


@pytest.mark.parametrize(
    ("body", "status", "part"),
    [
        ({"ids": ["i00"], "vectors": [vector(0)]}, 409, "has an id that an item has"),
        ({"ids": ["n0"], "vectors": [vector(0)[:3]]}, 422, "another shape"),
        ({"ids": ["n0", "n1"], "vectors": [vector(0), [1.0]]}, 422, "differ in length"),
        ({"ids": ["n0"]}, 422, "nothing to make item vectors of"),
        ({"ids": [7], "vectors": [vector(0)]}, 409, "another type"),
        ({"ids": ["n0"], "vectors": [vector(0)], "columns": {"price": [1]}}, 409, "unknown column"),
        ({"ids": ["n0"], "features": {"smell": [[1.0]]}}, 422, "smell"),
        ({"ids": []}, 422, "ids"),
        ({"ids": ["x"], "vectors": [vector(0)], "replace": True}, 422, "unknown item"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_an_edit_that_cannot_be_made_changes_nothing(
    client: TestClient, body: object, status: int, part: str
) -> None:
    answer = client.post("/v1/items", json=body, headers=BEARER)
    assert answer.status_code == status, answer.text
    assert part in answer.json()["detail"] + str(answer.json().get("value"))
    assert len(all_items(client)) == 40


def test_unknown_items_are_404_or_422(client: TestClient) -> None:
    assert client.get("/v1/items/x").status_code == 404
    assert client.delete("/v1/items/x", headers=BEARER).status_code == 422
    assert client.delete("/v1/filters/x", headers=BEARER).status_code == 404


def test_filters_are_there_after_a_restart(client: TestClient, run: Path) -> None:
    done = client.put("/v1/filters/few", json={"ids": ["i00", "i02"]}, headers=BEARER)
    assert done.json() == {"filters": ["few"]}
    for name in ("a-b", "not", "..", "%2e%2e%2fx"):
        answer = client.put(f"/v1/filters/{name}", json={"ids": ["i00"]}, headers=BEARER)
        assert answer.status_code in (404, 405, 422), name
    assert client.put("/v1/filters/g", json={"ids": ["x"]}, headers=BEARER).status_code == 422
    assert [path.name for path in (run / "filters").iterdir()] == ["few.json"]
    with client_of(run) as again:
        assert set(all_items(again, where="few")) == {"i00", "i02"}
        again.delete("/v1/filters/few", headers=BEARER)
        wait_until(lambda: client.get("/v1/filters").json() == {"filters": []})


def test_edits_of_another_process_are_followed(client: TestClient, run: Path) -> None:
    other = Engine.load(run)
    other.delete(["i07"])
    wait_until(lambda: "i07" not in all_items(client))
    answer = client.delete("/v1/items/i09", headers=BEARER)
    assert answer.status_code == 409  # the other one has the catalogue open
    assert "open for writing" in answer.json()["detail"]
    other.close()
    assert client.delete("/v1/items/i09", headers=BEARER).is_success
    assert not {"i07", "i09"} & set(all_items(client))


def test_a_look_at_the_disk_that_fails_is_not_the_last(
    client: TestClient, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving, failed = client.app.state.serving, list[None]()

    def fail() -> None:
        failed.append(None)
        raise RuntimeError("planted")

    with monkeypatch.context() as patch:
        patch.setattr(serving.filters, "stamps", fail)
        wait_until(lambda: len(failed) > 2)
    other = Engine.load(run)
    other.delete(["i07"])
    other.close()
    wait_until(lambda: "i07" not in all_items(client))
