"""What a bench reports; how long things take decides nothing here."""

from __future__ import annotations

import json
import time

import pytest
import torch
from typer.testing import CliRunner

from mmgrec.cli.main import app
from mmgrec.profiling import bench_report, relation_attention_cases, rq_assign_cases
from mmgrec.profiling.bench_schema import ReadReport
from mmgrec.profiling.cases import Case, run_case
from mmgrec.profiling.roof import Roof
from mmgrec.profiling.timing import WARM_UP, measure, threads
from mmgrec_engine.ops.work import Work

ROOF = Roof({1: 1e9}, {1: 1e10})


def case(check: object = lambda: None) -> Case:
    return Case(
        bench="op",
        shape={"N": 3},
        ours={"native": lambda: None},
        baselines={"slow": lambda: sum(range(200_000)), "fast": lambda: sum(range(2_000))},
        check=check,  # type: ignore[arg-type]
        work=Work(flops=1000, bytes=100),
        items=3,
    )


def test_rows_hold_ratios_to_the_strongest_baseline() -> None:
    rows = {row["backend"]: row for row in run_case(case(), (1,), ROOF)}
    assert set(rows) == {"native", "slow", "fast"}
    for row in rows.values():
        assert row["baseline"] == "fast"
        assert row["ratio"] == pytest.approx(rows["fast"]["median_s"] / row["median_s"])
        assert row["items_per_s"] == pytest.approx(3 / row["median_s"])
        # 1,000 operations at 1e9 a second outlast 100 bytes at 1e10.
        assert row["roof_share"] == pytest.approx(1e-6 / row["median_s"])
        assert row["p99_s"] >= row["median_s"] >= row["best_s"]
        assert row["ours"] == (row["backend"] == "native")
    assert rows["fast"]["ratio"] == 1.0


def test_wrong_answers_are_not_timed() -> None:
    def wrong() -> None:
        raise AssertionError("they differ")

    with pytest.raises(AssertionError, match="they differ"):
        list(run_case(case(wrong), (1,), ROOF))


def test_threads_are_given_back() -> None:
    before = torch.get_num_threads()
    with threads(1):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
    assert measure({"nothing": lambda: None})["nothing"].rounds >= 7


def test_calls_that_count_apart_leave_the_first_of_a_turn_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mmgrec.profiling.timing.SETTLE", 0.0)
    monkeypatch.setattr("mmgrec.profiling.timing.SECONDS_PER_METHOD", 0.0)
    turns: list[int] = []

    def slow_at_first() -> None:
        turns[-1] += 1
        if turns[-1] == 1:
            time.sleep(0.02)

    found = measure(
        {"a": slow_at_first}, prepare={"a": lambda: turns.append(0)}, calls=3, apart=True
    )["a"]
    assert set(turns) == {4}
    assert found.rounds == 3 * (len(turns) - WARM_UP)
    assert found.p99 < 0.02


def test_steady_calls_count_after_some_time_and_are_prepared_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mmgrec.profiling.timing.SETTLE", 0.0)
    monkeypatch.setattr("mmgrec.profiling.timing.SECONDS_PER_METHOD", 0.0)
    log: list[str] = []

    def slow_at_first() -> None:
        log.append("called")
        if log.count("called") % 5 == 1:
            time.sleep(0.02)

    found = measure(
        {"a": slow_at_first}, prepare={"a": lambda: log.append("prepared")}, calls=4, steady=0.01
    )["a"]
    # The slow call is over before calls count, and the four behind it count.
    assert found.rounds == 4 * (log.count("called") // 5 - WARM_UP)
    assert "called, called" not in ", ".join(log)


def test_the_report_of_small_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relation_attention_cases, "USERS", 2)
    monkeypatch.setattr(relation_attention_cases, "SHAPES", [(5, 8, "mixed")])
    monkeypatch.setattr(rq_assign_cases, "ROWS", 300)
    monkeypatch.setattr(rq_assign_cases, "WIDTHS", [8])
    monkeypatch.setattr("mmgrec.profiling.roof.measure_roof", _roof)
    done = CliRunner().invoke(app, ["bench", "ops", "--json"])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert ReadReport.model_validate(report).rows
    keys = [row["key"] for row in report["rows"]]
    assert len(set(keys)) == len(keys)
    assert all(row["ours"] == (row["backend"] == "native") for row in report["rows"])
    assert {row["bench"] for row in report["rows"]} == {"relation_attention", "rq_assign"}
    backends = {row["backend"] for row in report["rows"]}
    assert backends >= {"native", "torch_sdpa", "torch_addmm", "faiss_residual_quantizer"}
    tables = list(bench_report.bench_tables(report))
    assert len(tables) == 2
    assert "gemm_gflops_1t" in bench_report.describe_machine(report)


def _roof(counts: tuple[int, ...]) -> Roof:
    return Roof(dict.fromkeys(counts, 1e9), dict.fromkeys(counts, 1e10))
