"""`bench all` keeps what it can measure; how long things take decides nothing here."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mmgrec.cli.main import app
from mmgrec.profiling import (
    all_report,
    engine_cases,
    growth_cases,
    relation_attention_cases,
    report_parts,
    rq_assign_cases,
    serve_load,
    serve_world,
    timing,
    trie_build_cases,
    trie_cases,
    trie_edit_cases,
    trie_search_cases,
)
from mmgrec.profiling.all_report import Watch
from mmgrec.profiling.bench_schema import make_report, read_report
from mmgrec.profiling.report_files import write_results
from mmgrec.profiling.report_labels import duration
from mmgrec.profiling.roof import Roof

ROOF = Roof({1: 1e9, 2: 2e9}, {1: 1e10, 2: 1e10})
PNG = b"\x89PNG"
FILES = {"report.json", "report.md", "roofline.png", "ratios.png", "growth.png"}

Tell = Callable[[str], None]
Row = dict[str, Any]


@pytest.fixture(autouse=True)
def roof(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmgrec.profiling.roof.measure_roof", lambda counts: ROOF)


def row(n: int, backend: str, seconds: float, threads: int = 1) -> Row:
    """A row of a made-up op."""
    return {
        "bench": "op",
        "case": {"n": n},
        "backend": backend,
        "threads": threads,
        "median_s": seconds,
        "best_s": seconds * 0.9,
        "p99_s": seconds * 2,
        "rounds": 9,
        "baseline": "torch",
        "baseline_median_s": 3e-3,
        "ratio": 3e-3 / seconds,
        "flops": 1000 * n,
        "bytes": 10,
        "roof_share": 0.3,
    }


def good(tell: Tell) -> Iterator[Row]:
    tell("one")
    for n in (1, 2):
        for threads in (1, 2):
            yield row(n, "native", 1e-3 / threads, threads)
            yield row(n, "torch", 3e-3 / threads, threads)


def broken(tell: Tell) -> Iterator[Row]:
    yield row(3, "native", 4e-3)
    raise RuntimeError("no such luck")


def bench_all(out: Path, monkeypatch: pytest.MonkeyPatch, **parts: Any) -> Any:  # noqa: ANN401
    monkeypatch.setattr(all_report, "parts_of", lambda *_: parts)
    return CliRunner().invoke(app, ["bench", "all", "--out", str(out)])


def test_a_part_that_fails_is_named_and_the_others_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "new" / "report"
    done = bench_all(out, monkeypatch, ops=broken, trie=good)
    assert done.exit_code == 1
    assert "failed: ops: RuntimeError: no such luck" in done.stderr
    assert {path.name for path in out.iterdir()} == FILES - {"growth.png"}
    assert all(path.stat().st_size > 100 for path in out.iterdir())
    report = json.loads((out / "report.json").read_text())
    assert [row["part"] for row in report["rows"]] == ["ops"] + ["trie"] * 8
    assert report["parts"]["ops"]["error"] == "RuntimeError: no such luck"
    assert "error" not in report["parts"]["trie"]
    assert len(read_report(out / "report.json").rows) == 9
    text = (out / "report.md").read_text()
    assert "**failed: RuntimeError: no such luck**" in text
    assert "| 2 | 2 | native | 500 µs |" in text
    assert "![" in text


def test_a_report_without_failures_ends_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = bench_all(tmp_path, monkeypatch, ops=good)
    assert done.exit_code == 0, done.output
    assert (tmp_path / "ratios.png").read_bytes().startswith(PNG)


def test_a_picture_of_an_earlier_report_does_not_stay(tmp_path: Path) -> None:
    (tmp_path / "ratios.png").write_bytes(PNG)
    report = make_report(ROOF.as_json(), [])
    write_results(report | {"parts": {}, "seconds": 1.0}, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"report.json", "report.md"}


def test_gpu_rows_have_a_panel_of_their_own(tmp_path: Path) -> None:
    report = make_report(ROOF.as_json(), [row(1, "native", 1e-3)])
    write_results(report | {"parts": {}, "seconds": 1.0}, tmp_path)
    one = (tmp_path / "roofline.png").stat().st_size
    rows = [row(1, "native", 1e-3), {**row(1, "triton", 1e-4), "device": "cuda"}]
    report = make_report(ROOF.as_json(), rows)
    gpu = {"gpu_roof": {"gemm_gflops_1t": 5e4, "copy_gbs_1t": 2e3, "gemm_gflops_graph": 5e4}}
    write_results(report | gpu | {"parts": {}, "seconds": 1.0}, tmp_path)
    assert (tmp_path / "roofline.png").stat().st_size > 1.3 * one
    assert "gemm_gflops_graph" in (tmp_path / "report.md").read_text()


def test_the_estimate_follows_the_parts() -> None:
    told: list[str] = []
    watch = Watch(["ops", "serve"], told.append)
    usual = all_report.USUAL_SECONDS
    watch.begin("ops")
    watch("case")
    assert watch.left() == pytest.approx(usual["ops"] + usual["serve"], abs=5)
    assert told[0].startswith("ops (1 of 2, about ")
    watch.begin("serve")
    assert watch.left() < 5  # the first part took no time, so the pace is great
    watch("case")
    assert told[1] == "serve (2 of 2, nearly done): case"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(12.3, "12.3 s"), (4.449e-3, "4.45 ms"), (2.9e-6, "2.90 µs"), (123.4e-9, "0.12 µs")],
)
def test_durations_have_three_digits(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_all_parts_on_small_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SECONDS_PER_METHOD": 0.0, "SETTLE": 0.0, "LEAST_ROUNDS": 3}.items():
        monkeypatch.setattr(timing, name, value)
    monkeypatch.setattr(relation_attention_cases, "USERS", 2)
    monkeypatch.setattr(relation_attention_cases, "SHAPES", [(5, 8, "mixed")])
    monkeypatch.setattr(rq_assign_cases, "ROWS", 300)
    monkeypatch.setattr(rq_assign_cases, "WIDTHS", [8])
    for module in (trie_cases, trie_search_cases):
        monkeypatch.setattr(module, "ITEMS", 100_000)
        monkeypatch.setattr(module, "DENIED", 30_000)
    monkeypatch.setattr(trie_search_cases, "USERS", (1, 3))
    monkeypatch.setattr(trie_build_cases, "ITEMS_PER_CASE", 1)
    monkeypatch.setattr(trie_edit_cases, "ITEMS", 3000)
    monkeypatch.setattr(trie_edit_cases, "PENDING", (0, 40))
    monkeypatch.setattr(engine_cases, "WIDTHS", (10,))
    monkeypatch.setattr(engine_cases, "INSTALLED", False)  # Hugging Face takes seconds
    monkeypatch.setattr(engine_cases, "BATCH", 2)
    monkeypatch.setattr(growth_cases, "WIDTHS", (10, 50))
    monkeypatch.setattr(serve_load, "WORKERS", (1,))
    monkeypatch.setattr(serve_load, "SHARES", (0.5,))
    monkeypatch.setattr(serve_load, "CALLS", 20)
    monkeypatch.setattr(serve_world, "ITEMS", 2000)
    small = {"TRIE_ITEMS": 500, "STEP_USERS": (1, 3), "STEP_WIDTHS": (4,), "DENIED": 30_000}
    small |= {"GROWTH": (2000,), "REQUESTS": (2000,), "LOAD_SECONDS": 0.2}
    for name, number in small.items():
        monkeypatch.setattr(report_parts, name, number)
    done = CliRunner().invoke(app, ["bench", "all", "--out", str(tmp_path), "--json"])
    assert done.exit_code == 0, done.output
    assert {path.name for path in tmp_path.iterdir()} == FILES
    report = json.loads((tmp_path / "report.json").read_text())
    assert report == json.loads(done.stdout)
    assert [*report["parts"]] == ["ops", "trie", "engine", "serve"]
    keys = [row.key for row in read_report(tmp_path / "report.json").rows]
    assert len(set(keys)) == len(keys)
    text = (tmp_path / "report.md").read_text()
    for bench in {row["bench"] for row in report["rows"]}:
        assert f"(`{bench}`)" in text
    assert {row["case"]["N"] for row in report["rows"] if row["bench"] == "engine_latency"} == {
        2000
    }
    served = [row for row in report["rows"] if row["bench"] == "serve_load"]
    assert {row["case"]["items"] for row in served} == {2000}
    assert all(sum(row["failed"].values()) == 0 for row in served)
    same = CliRunner().invoke(app, ["bench", "--compare", *2 * [str(tmp_path / "report.json")]])
    assert same.exit_code == 0, same.output
