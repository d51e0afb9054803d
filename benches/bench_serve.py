"""A server of a random model: one request after the other, and as many as it answers.

Floor of a request: `Engine.recommend` on one thread, which `mmgrec bench serve` measures beside it.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from mmgrec.profiling.report_parts import LOAD_SECONDS
from mmgrec.profiling.serve_client import Client
from mmgrec.profiling.serve_load import CONNECTIONS, WORKERS, requests_of
from mmgrec.profiling.serve_process import server_process
from mmgrec.profiling.serve_world import random_run


@pytest.fixture(scope="module", params=WORKERS)
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    with random_run() as (run, histories), server_process(run, request.param) as server:
        found = Client(server.host, server.port, requests_of(histories))
        found.load(None, CONNECTIONS, 1.0)  # warms up
        yield found
        found.close()


@pytest.mark.parametrize("connections", [1, CONNECTIONS])
def test_a_closed_loop(benchmark: BenchmarkFixture, client: Client, connections: int) -> None:
    load = benchmark.pedantic(client.load, args=(None, connections, LOAD_SECONDS), rounds=1)
    assert load.failed == {}
    benchmark.extra_info.update(
        bench="serve_load",
        connections=connections,
        requests_per_s=load.rate,
        median_s=load.quantile(0.5),
        p99_s=load.quantile(0.99),
    )
