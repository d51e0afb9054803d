"""The Ray Serve example on a local Ray, where 'ray[serve]' is installed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from mmgrec_engine.engine import Engine
from tests_shared import LOCAL_RAY

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
ray = pytest.importorskip("ray", reason="the extra 'batch' is not installed")
serve = pytest.importorskip(
    "ray.serve", reason="'ray[serve]' is not installed", exc_type=ModuleNotFoundError
)

DEPLOY = Path(__file__).parents[2] / "deploy"
PORT = 18017


@pytest.fixture
def url(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("MMGREC_RUN", str(run_folder))
    # Ray starts a proxy anew that is not up after five seconds, as happens on a busy core.
    monkeypatch.setenv("RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S", "120")
    monkeypatch.syspath_prepend(str(DEPLOY))
    seen = {"PYTHONPATH": str(DEPLOY), "MMGREC_RUN": str(run_folder)}
    ray.init(**LOCAL_RAY, runtime_env={"env_vars": seen})
    from ray_serve_app import app

    serve.start(http_options={"host": "127.0.0.1", "port": PORT})
    serve.run(app)
    yield f"http://127.0.0.1:{PORT}/"
    serve.shutdown()
    ray.shutdown()


def test_replicas_answer_as_the_engine_and_a_bad_request_fails_alone(
    url: str, run_folder: Path
) -> None:
    asked = [f"i{number:02d},i{number + 1:02d}" for number in range(20)]
    queries = [*(f"?history={ids}&k=4" for ids in asked), "?history=nobody", "?history=&k=3"]
    queries += ["?history=i01&k=0", "?history=i01&k=40"]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda query: httpx.get(url + query, timeout=30), queries))
    expected = Engine.load(run_folder).recommend([ids.split(",") for ids in asked], k=4)
    for row in range(len(asked)):
        assert answers[row].json()["items"] == expected.items[row].tolist()
        assert answers[row].json()["scores"] == pytest.approx(expected.scores[row], abs=1e-5)
        assert answers[row].json()["certified"] == expected.certified[row]
    assert [answer.status_code for answer in answers[len(asked) :]] == [422, 422, 422, 200]
    assert "nobody" in answers[20].json()["error"]
    assert len(answers[23].json()["items"]) == 39  # all but the one of the history
