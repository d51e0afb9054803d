"""What `bench engine` compares: the baselines are right, and the arithmetic is counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from mmgrec.profiling import engine_cases, engine_report, filter_request_cases, growth_cases
from mmgrec.profiling.engine_torch import torch_search
from mmgrec.profiling.engine_work import request_work
from mmgrec.profiling.engine_world import CONFIG, LENGTH, K, World
from mmgrec.profiling.growth_plot import plot_growth
from mmgrec.profiling.report_files import write_picture
from mmgrec.profiling.roof import Roof
from mmgrec.profiling.trie_keys import SIZES
from mmgrec_engine.decoding.beam_search import beam_search

USERS, WIDTH = 3, 7


@pytest.fixture(scope="module")
def world() -> World:
    return World(5000)


def inputs(world: World) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(world.histories(USERS)), torch.full((USERS,), LENGTH)


def test_the_torch_baseline_finds_what_beam_search_finds(world: World) -> None:
    items, lengths = inputs(world)
    scores, leaves = torch_search(world.model, world.csr, items, lengths, WIDTH)
    with torch.no_grad():
        memory = world.model.encode(items, lengths)
    expected = beam_search(world.model, world.trie, None, memory, k=WIDTH, beam_width=WIDTH)
    np.testing.assert_allclose(scores, expected.scores, atol=1e-5)
    np.testing.assert_array_equal(leaves, expected.ranks)


def test_the_arithmetic_is_what_torch_counts(world: World) -> None:
    items, lengths = inputs(world)
    with FlopCounterMode(display=False) as counter:
        torch_search(world.model, world.csr, items, lengths, WIDTH)
    work = request_work(CONFIG, CONFIG.width, SIZES, LENGTH, WIDTH, USERS)
    # The counter leaves out attention over earlier tokens where torch fuses it.
    assert counter.get_total_flops() == pytest.approx(work.flops, rel=5e-3)


def test_generate_makes_items(world: World) -> None:
    pytest.importorskip("transformers")
    leaves = world.generate(USERS, K)()
    assert leaves.shape == (USERS, K)
    assert (leaves >= 0).all()
    assert all(len(set(row)) == K for row in leaves.tolist())


@pytest.mark.parametrize("users", [1, USERS])
def test_native_and_torch_agree(world: World, users: int) -> None:
    engine_cases.check(world, users, 10)


def test_a_wrong_method_is_not_timed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = np.zeros((1, K), np.int64)
    monkeypatch.setattr(World, "torch", lambda *_: lambda: wrong)
    with pytest.raises(AssertionError, match="in common only"):
        engine_cases.check(world, 1, 10)


def test_denied_items_that_come_back_are_not_timed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filter_request_cases, "DENIED", 2500)
    engine = filter_request_cases.engine_of(world)
    case = filter_request_cases.filter_request_case(engine, world, 10)
    case.check()
    recommend = engine.recommend
    monkeypatch.setattr(engine, "recommend", lambda *a, deny=(), **k: recommend(*a, **k))
    wrong = filter_request_cases.filter_request_case(engine, world, 10)
    with pytest.raises(AssertionError, match="different results"):
        wrong.check()


def test_the_report_and_the_plot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmgrec.profiling.timing.SECONDS_PER_METHOD", 0.0)
    monkeypatch.setattr("mmgrec.profiling.timing.SETTLE", 0.0)
    monkeypatch.setattr("mmgrec.profiling.timing.LEAST_ROUNDS", 1)
    roof = Roof({1: 1e9, 2: 1e9}, {1: 1e10, 2: 1e10})
    monkeypatch.setattr("mmgrec.profiling.roof.measure_roof", lambda counts: roof)
    monkeypatch.setattr(engine_report, "SMALLEST", 2000)
    monkeypatch.setattr(engine_cases, "WIDTHS", (10,))
    monkeypatch.setattr(engine_cases, "BATCH", 2)
    monkeypatch.setattr(growth_cases, "WIDTHS", (10, 50))
    monkeypatch.setattr(filter_request_cases, "WIDTHS", (10,))
    monkeypatch.setattr(filter_request_cases, "DENIED", 500)
    report = engine_report.bench_engine(2000, lambda _: None)
    benches = {row["bench"] for row in report["rows"]}
    assert benches == {"engine_latency", "engine_batch", "filtered_request", "retrieval_growth"}
    for row in requests(report):
        assert row["ratio"] == pytest.approx(row["baseline_median_s"] / row["median_s"])
        assert row["p99_s"] >= row["median_s"] > 0
        assert row["baseline"] in {"torch", "hf_generate"}
    recall = [row["recall@10"] for row in report["rows"] if "hnsw" in row["backend"]]
    assert len(recall) == 2
    assert 0.5 < recall[0] <= recall[1] <= 1
    titles = [table.title for table in engine_report.engine_tables(report)]
    assert titles == ["engine_latency", "engine_batch", "filtered_request", "retrieval_growth"]
    assert write_picture(report, plot_growth, tmp_path / "growth.png")
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")


def requests(report: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for row in report["rows"] if row["bench"].startswith("engine_")]
