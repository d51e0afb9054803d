"""The OpenAPI document is whole, and whatever is made of it, nothing is a 5xx."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable

from serving_world import BEARER, RealServer, copy_run, real_server

EXAMPLES = 10


@pytest.fixture(scope="module")
def server(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    run = copy_run(run_folder, tmp_path_factory.mktemp("openapi") / "run")
    with real_server(run) as server:
        yield server


def operations(url: str) -> Iterator[Any]:
    for found in schemathesis.openapi.from_url(f"{url}/openapi.json").get_all_operations():
        yield found.ok()


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode), ids=lambda mode: mode.value)
def test_nothing_generated_is_a_5xx(server: RealServer, mode: Any) -> None:  # noqa: ANN401
    statuses: dict[str, set[int]] = {}

    for operation in operations(server.url):

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: schemathesis.Case) -> None:
            answer = case.call(headers=BEARER)
            statuses.setdefault(case.operation.label, set()).add(answer.status_code)
            late = answer.status_code == 504 and "deadline_ms" in str(case.body)
            assert answer.status_code < 500 or late, answer.text

        # Of some operations nothing can be wrong: no body, and any text is a name.
        with contextlib.suppress(Unsatisfiable):
            ask()
    assert {"POST /v1/recommend", "POST /v1/items", "DELETE /v1/items"} <= statuses.keys()
    assert httpx.get(f"{server.url}/v2/health/ready").status_code == 200
    if mode is schemathesis.GenerationMode.NEGATIVE:
        assert statuses["POST /v1/recommend"] <= {400, 404, 422}


def test_every_reference_leads_somewhere(server: RealServer) -> None:
    document = httpx.get(f"{server.url}/openapi.json").json()
    schemas = document["components"]["schemas"]

    def check(value: object) -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                if name == "$ref":
                    assert inner.removeprefix("#/components/schemas/") in schemas
                check(inner)
        elif isinstance(value, list):
            for inner in value:
                check(inner)

    check(document)
    body = document["paths"]["/v1/recommend"]["post"]["requestBody"]["content"]
    assert body["application/json"]["schema"]["$ref"].endswith("/RecommendRequest")
    assert "histories" in schemas["RecommendRequest"]["properties"]
    assert httpx.get(f"{server.url}/docs").status_code == 200
