"""What the page at `/` is made of: assets, posters, search, the walk."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from mmgrec.cli.main import app
from mmgrec_engine.engine import Engine
from mmgrec_engine.errors import ConfigError
from serving_world import BEARER, client_of, copy_run, vector

HISTORY = ["i01", "i03"]


@pytest.fixture(scope="module")
def client(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("page")
    posters = folder / "posters"
    posters.mkdir()
    (posters / "i01.png").write_bytes(b"a picture")
    (posters / "i02.svg").write_bytes(b"<svg/>")
    (folder / "secret.png").write_bytes(b"nobody's business")
    with client_of(copy_run(run_folder, folder / "run"), posters=posters) as client:
        yield client


def walk(client: TestClient, **body: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    answer = client.post("/v1/page/walk", json=body)
    assert answer.status_code == 200, answer.text
    levels: list[dict[str, Any]] = answer.json()["levels"]
    return levels


def test_the_page_and_its_parts_come_with_a_strict_policy(client: TestClient) -> None:
    for path, media in (
        ("/", "text/html"),
        ("/page/page.css", "text/css"),
        ("/page/page.js", "text/javascript"),
        ("/page/walk.js", "text/javascript"),
        ("/page/icon.svg", "image/svg+xml"),
    ):
        answer = client.get(path)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(media)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
    assert client.get("/page/page_routes.py").status_code == 404
    assert client.get("/page/..%2Fapp.py").status_code == 404


def test_posters_are_images_of_known_items_only(client: TestClient) -> None:
    found = client.get("/posters/i01")
    assert found.content == b"a picture"
    assert found.headers["content-type"] == "image/png"
    for item in ("i02", "i03", "nobody", "..%2Fsecret", "%2e%2e"):
        answer = client.get(f"/posters/{item}")
        assert answer.status_code == 404, item
    body = {"ids": ["../secret"], "vectors": [vector(1)]}
    assert client.post("/v1/items", json=body, headers=BEARER).is_success
    assert client.get("/posters/..%2Fsecret").status_code == 404
    assert client.request(
        "DELETE", "/v1/items", json={"ids": body["ids"]}, headers=BEARER
    ).is_success


def test_posters_and_the_page_can_be_left_out(run_folder: Path, tmp_path: Path) -> None:
    with client_of(copy_run(run_folder, tmp_path / "run")) as client:
        assert not client.get("/v1/page").json()["posters"]
        answer = client.get("/posters/i01")
        assert answer.status_code == 404
        assert "--posters" in answer.json()["remedy"]
    with client_of(tmp_path / "run", page=False) as client:
        for path in ("/", "/v1/page", "/v1/page/users/u1"):
            assert client.get(path).status_code == 404
        assert client.post("/v1/recommend", json={"histories": [HISTORY]}).status_code == 200
    done = CliRunner().invoke(app, ["serve", str(run_folder), "--posters", str(tmp_path / "none")])
    assert isinstance(done.exception, ConfigError)


def test_items_are_found_by_title_and_id(client: TestClient, run_folder: Path) -> None:
    def find(text: str) -> list[str]:
        answer = client.get("/v1/page/items", params={"q": text})
        assert answer.status_code == 200
        return [item["id"] for item in answer.json()["items"]]

    assert find("i07") == ["i07"]
    assert find("TITLE 7") == ["i07"]
    assert find("title 3")[0] == "i03"
    assert set(find("tle 3")) == {"i03", *(f"i{n}" for n in range(30, 40))}
    assert find("no such title") == find(".*") == find("%") == []
    popularity = Engine.load(run_folder).items.sort("popularity", descending=True)["popularity"]
    counts = dict(zip(*Engine.load(run_folder).items.select("item", "popularity"), strict=True))
    assert [counts[item] for item in find("")] == popularity[:12].to_list()


def test_a_deleted_item_is_not_suggested(client: TestClient) -> None:
    body = {"ids": ["x1"], "vectors": [vector(7)], "columns": {"title": ["Gone soon"]}}
    assert client.post("/v1/items", json=body, headers=BEARER).is_success
    assert client.get("/v1/page/items?q=gone").json()["total"] == 1
    assert client.delete("/v1/items/x1", headers=BEARER).is_success
    assert client.get("/v1/page/items?q=gone").json() == {"items": [], "total": 0}


def test_users_are_found_and_have_histories(client: TestClient) -> None:
    found = client.get("/v1/page/users?q=u1").json()
    assert [user["id"] for user in found[:3]] == ["u1", "u10", "u11"]
    history = client.get("/v1/page/users/u1").json()
    assert history["total"] == found[0]["items"]
    assert all(item["title"] == f"Title {int(item['id'][1:])}" for item in history["items"])
    assert client.get("/v1/page/users/nobody").status_code == 404


@pytest.mark.parametrize(
    "options", [{}, {"beam_width": 4, "k": 3}, {"exclude_seen": False}], ids=str
)
def test_a_walk_ends_in_what_is_recommended(client: TestClient, options: dict[str, Any]) -> None:
    asked = client.post("/v1/recommend", json={"histories": [HISTORY], **options}).json()
    result = asked["results"][0]
    levels = walk(client, history=HISTORY, **options)
    kept = [prefix for prefix in levels[-1]["prefixes"] if prefix["kept"]]
    assert [prefix["item"]["id"] for prefix in kept] == result["items"]
    np.testing.assert_allclose([prefix["score"] for prefix in kept], result["scores"], atol=1e-5)


def test_every_prefix_has_its_parent_and_only_kept_ones_go_on(client: TestClient) -> None:
    levels = walk(client, history=HISTORY, beam_width=4, k=3)
    assert all(prefix["parent"] == 0 for prefix in levels[0]["prefixes"])
    for before, level in pairwise(levels):
        for prefix in level["prefixes"]:
            parent = before["prefixes"][prefix["parent"]]
            assert prefix["tokens"][:-1] == parent["tokens"]
            assert parent["kept"]
            assert prefix["score"] <= parent["score"] + 1e-6
    for level in levels[:-1]:
        assert level["survived"] == min(4, level["considered"])
        dropped = [prefix for prefix in level["prefixes"] if not prefix["kept"]]
        assert len(dropped) == min(2, level["considered"] - level["survived"])
    scores = [prefix["score"] for prefix in levels[0]["prefixes"]]
    assert scores == sorted(scores, reverse=True)


def test_items_below_are_those_that_exist(client: TestClient) -> None:
    def counts() -> dict[tuple[int, ...], int]:
        first = walk(client, history=HISTORY, beam_width=100)[0]["prefixes"]
        return {tuple(prefix["tokens"]): prefix["items"] for prefix in first}

    before = counts()
    assert sum(before.values()) == client.get("/v1/model").json()["items"]
    token = client.get("/v1/items/i30").json()["rec_id"][0]
    assert client.delete("/v1/items/i30", headers=BEARER).is_success
    after = counts()
    assert after.get((token,), 0) == before[(token,)] - 1


def test_filters_count_in_a_walk(client: TestClient) -> None:
    body = {"ids": ["i08", "i09"]}
    assert client.put("/v1/filters/two", json=body, headers=BEARER).is_success
    levels = walk(client, history=HISTORY, where="two")
    assert {prefix["item"]["id"] for prefix in levels[-1]["prefixes"]} == {"i08", "i09"}
    levels = walk(client, history=HISTORY, where="two and not two")
    assert [level["prefixes"] for level in levels] == [[]]
    assert walk(client, user="u1", k=2)[-1]["survived"] == 2


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"history": []}, 422),
        ({"history": ["x"]}, 422),
        ({"user": "nobody"}, 404),
        ({"history": HISTORY, "beam_width": 10**9}, 422),
        ({"history": HISTORY, "where": "none"}, 422),
    ],
    ids=str,
)
def test_bad_walks_are_problems(client: TestClient, body: dict[str, Any], status: int) -> None:
    answer = client.post("/v1/page/walk", json=body)
    assert answer.status_code == status, answer.text
    assert answer.json()["detail"]


def test_answers_say_what_they_took(client: TestClient) -> None:
    answer = client.post("/v1/recommend", json={"histories": [HISTORY]})
    names = [part.split(";dur=")[0] for part in answer.headers["server-timing"].split(", ")]
    assert names == ["queue", "compute", "total"]
