"""A new artifact takes the place of the old one, a damaged one does not."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from mmgrec.data.dataset import Dataset
from mmgrec.training.pipeline import Run, train_run
from mmgrec_engine.artifact import MANIFEST
from mmgrec_engine.engine import Engine
from serving_world import BEARER, client_of, copy_run, vector, wait_until
from tests_shared import quiet_reporter, small_config

HISTORY = {"histories": [["i01", "i03"]]}


@pytest.fixture(scope="module")
def other_run(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another training of the same data."""
    folder = tmp_path_factory.mktemp("other") / "toy"
    run = Run(folder, dataset, small_config(), "test", 1)
    train_run(run, quiet_reporter(run.work / "logs"))
    return folder


@pytest.fixture
def link(run_folder: Path, tmp_path: Path) -> Path:
    """A link to a run, as people deploy."""
    copy_run(run_folder, tmp_path / "first")
    (tmp_path / "current").symlink_to("first")
    return tmp_path / "current"


@pytest.fixture
def client(link: Path) -> Iterator[TestClient]:
    with client_of(link) as client:
        yield client


def point(link: Path, to: Path) -> None:
    """Lead the link elsewhere, at once."""
    partial = link.with_name("partial")
    partial.symlink_to(to)
    os.replace(partial, link)


def version(client: TestClient) -> str:
    found: str = client.get("/v1/model").json()["version"]
    return found


def test_the_disk_is_followed(client: TestClient, link: Path, other_run: Path) -> None:
    before = version(client)
    put = client.put("/v1/filters/few", json={"ids": ["i07", "i09"]}, headers=BEARER)
    assert put.is_success
    second = copy_run(other_run, link.parent / "second")
    point(link, second)
    wait_until(lambda: version(client) != before)
    results = client.post("/v1/recommend", json=HISTORY).json()["results"]
    expected = Engine.load(other_run).recommend(HISTORY["histories"]).items[0].tolist()
    assert results[0]["items"] == expected
    assert client.get("/v1/filters").json() == {"filters": ["few"]}
    assert 'mmgrec_reloads_total{outcome="loaded"} 1.0' in client.get("/metrics").text
    assert client.post("/v1/reload", headers=BEARER).json()["changed"] is False


def test_requests_go_on_through_reloads_and_edits(
    client: TestClient, link: Path, other_run: Path
) -> None:
    runs = [link.resolve(), copy_run(other_run, link.parent / "second")]
    stop, statuses = threading.Event(), []

    def ask() -> None:
        while not stop.is_set():
            statuses.append(client.post("/v1/recommend", json=HISTORY).status_code)

    asking = threading.Thread(target=ask)
    asking.start()
    for turn in range(6):
        body = {"ids": [f"n{turn}"], "vectors": [vector(turn)]}
        assert client.post("/v1/items", json=body, headers=BEARER).is_success
        point(link, runs[(turn + 1) % 2])
        assert client.post("/v1/reload", headers=BEARER).status_code == 200
    stop.set()
    asking.join()
    assert set(statuses) == {200}
    # Each run has the edits that were made while it was in use.
    assert client.get("/v1/items/n4").json()["live"]
    assert client.get("/v1/items/n5").status_code == 404


def test_edits_made_while_a_new_model_loads_are_kept(client: TestClient, link: Path) -> None:
    for turn in range(3):
        body = {"ids": [f"n{turn}"], "vectors": [vector(turn)]}
        assert client.post("/v1/items", json=body, headers=BEARER).is_success
        assert client.post("/v1/reload", headers=BEARER).is_success
    items = client.post("/v1/recommend", json={**HISTORY, "k": 60}).json()["results"][0]["items"]
    assert {"n0", "n1", "n2"} <= set(items)


@pytest.mark.parametrize("damage", ["weights", "trie", "manifest", "missing"])
def test_a_damaged_artifact_is_refused_and_the_old_one_serves(
    client: TestClient, link: Path, damage: str
) -> None:
    before = version(client)
    broken = link.parent / "broken"
    shutil.copytree(link.resolve(), broken)
    name = {"weights": "model.safetensors", "trie": "trie.bin"}.get(damage, MANIFEST)
    if damage == "missing":
        (broken / name).unlink()
    else:
        content = bytearray((broken / name).read_bytes())
        content[len(content) // 2] ^= 0xFF
        (broken / name).write_bytes(content)
    point(link, broken)
    answer = client.post("/v1/reload", headers=BEARER)
    assert answer.status_code == 409, answer.text
    assert str(broken) in answer.json()["detail"]
    assert version(client) == before
    assert client.post("/v1/recommend", json=HISTORY).status_code == 200
    assert client.delete("/v1/items/i11", headers=BEARER).is_success  # of the old one
    assert 'mmgrec_reloads_total{outcome="refused"}' in client.get("/metrics").text


def test_a_new_artifact_with_edits_of_another_one_is_refused(
    client: TestClient, link: Path, other_run: Path
) -> None:
    assert client.delete("/v1/items/i11", headers=BEARER).is_success
    mixed = copy_run(other_run, link.parent / "mixed")
    shutil.copytree(link.resolve() / "catalog", mixed / "catalog")
    point(link, mixed)
    answer = client.post("/v1/reload", headers=BEARER)
    assert answer.status_code == 409
    assert "edits of another artifact" in answer.json()["detail"]


def test_a_server_is_not_ready_before_its_model_is(run_folder: Path, tmp_path: Path) -> None:
    from mmgrec.serving.app import make_app
    from mmgrec.serving.options import ServeOptions, Worker

    app = make_app(ServeOptions(run_folder), Worker())
    client = TestClient(app)  # not entered: nothing is loaded
    assert client.get("/v2/health/live").status_code == 200
    for path in ("/v2/health/ready", "/v1/model", "/v1/items/i00", "/v1/filters"):
        answer = client.get(path)
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
    assert client.post("/v1/recommend", json=HISTORY).status_code == 503
