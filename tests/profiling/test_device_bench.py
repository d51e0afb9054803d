"""The cases of `bench device` on small data, on the CPU where there is no GPU."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
import torch
from typer.testing import CliRunner

from mmgrec.cli.main import app
from mmgrec.profiling import (
    beam_self_attention_cases,
    cross_attention_cases,
    device_cases,
    device_report,
    device_search_cases,
    norm_block_cases,
    timing,
)
from mmgrec.profiling.cases import run_case
from mmgrec.profiling.roof import Roof
from mmgrec_engine.errors import BackendError
from mmgrec_engine.ops.backends import availability

ROOF = Roof({1: 1e9}, {1: 1e10})
HAS_GPU = any(a.available for a in availability("constrained_topk", "cuda") if a.backend == "cuda")
DEVICE = "cuda" if HAS_GPU else "cpu"


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for module in (device_cases, device_search_cases):
        monkeypatch.setattr(module, "ITEMS", 5000)
    monkeypatch.setattr(device_search_cases, "REQUESTS", [(3, 10)])
    monkeypatch.setattr(cross_attention_cases, "SHAPES", [(2, 3, 5, 8)] * 2)
    monkeypatch.setattr(timing, "SECONDS_PER_METHOD", 0.01)
    device_search_cases.make_world.cache_clear()
    yield
    device_search_cases.make_world.cache_clear()


def test_steps() -> None:
    for make in device_cases.device_step_cases(DEVICE):
        case = make()
        assert {row["backend"] for row in run_case(case, (1,), ROOF, DEVICE)} >= {"torch_csr"}
        assert case.work is not None
        assert case.work.bytes > 4 * case.shape["children"]


def test_searches() -> None:
    for make in itertools.islice(device_search_cases.device_search_cases(DEVICE), 2):
        case = make()
        found = {row["backend"]: row for row in run_case(case, (1,), ROOF, DEVICE)}
        assert set(found) >= {"graph", "graph_bf16", "queued"}
        assert ("torch" in found) != case.shape["node_vectors"]
        assert all(row["items_per_s"] > 0 for row in found.values())


def test_attention() -> None:
    for make in cross_attention_cases.cross_attention_cases(DEVICE):
        rows = list(run_case(make(), (1,), ROOF, DEVICE))
        assert {row["backend"] for row in rows} >= {"torch_sdpa", "repeated_memory"}


def test_attention_of_prefixes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beam_self_attention_cases, "SHAPES", [(2, 5)])
    for make in beam_self_attention_cases.beam_self_attention_cases(DEVICE):
        assert {row["backend"] for row in run_case(make(), (1,), ROOF, DEVICE)} >= {"torch_sdpa"}


def test_blocks_with_a_norm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(norm_block_cases, "ROWS", [5])
    for cases in (norm_block_cases.linear_norm_cases, norm_block_cases.feed_forward_norm_cases):
        for make in cases(DEVICE):
            assert {row["backend"] for row in run_case(make(), (1,), ROOF, DEVICE)} >= {"torch"}


def test_without_a_gpu_the_command_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    done = CliRunner().invoke(app, ["bench", "device"])
    assert isinstance(done.exception, BackendError)
    assert "needs a GPU" in str(done.exception)


@pytest.mark.skipif(not HAS_GPU, reason="needs a GPU")
def test_a_case_that_fails_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> Iterator[object]:
        def fail() -> None:
            raise RuntimeError("broken")

        yield fail

    for name in ("device_search", "device_step", "cross_attention", "relation_attention"):
        monkeypatch.setattr(device_report, f"{name}_cases", broken)
    for name in ("beam_self_attention", "linear_norm", "feed_forward_norm", "rq_assign"):
        monkeypatch.setattr(device_report, f"{name}_cases", lambda _: iter([]))
    report = device_report.bench_device(lambda _: None)
    assert [row["error"] for row in report["failed"]] == ["RuntimeError: broken"] * 4
    assert report["rows"] == []
