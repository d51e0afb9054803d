"""`mmgrec profile` and `bench soak` on a small run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mmgrec.cli.main import app
from mmgrec.profiling import request_profile
from mmgrec.profiling.request_profile import profile_request
from mmgrec.profiling.roof import Roof
from mmgrec_engine.engine import Engine
from mmgrec_engine.errors import ConfigError

ROOF = Roof({1: 1e11, 2: 2e11}, {1: 1e10, 2: 1e10})


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_profile, "ROUNDS", 3)
    monkeypatch.setattr("mmgrec.profiling.roof.measure_roof", lambda counts: ROOF)


def test_profile_writes_table_picture_and_trace(run_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "profile"
    arguments = ["profile", str(run_folder), "--out", str(out), "--batch", "4", "--json"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert [call["users"] for call in report["requests"]] == [1, 4]
    for call in report["requests"]:
        assert sum(row["share"] for row in call["stages"]) == pytest.approx(1)
        assert all(row["seconds"] >= 0 for row in call["stages"])
        busy = [row["stage"] for row in call["stages"] if row["flops"] > 0]
        assert any("attention" in stage for stage in busy)
        assert any("head" in stage for stage in busy)
    one, four = (sum(r["flops"] for r in call["stages"]) for call in report["requests"])
    assert four > 2 * one
    assert (out / "profile.png").read_bytes().startswith(b"\x89PNG")
    trace = json.loads((out / "trace.json").read_text())
    spans = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    assert len(spans) == sum(len(call["stages"]) for call in report["requests"])
    assert json.loads((out / "profile.json").read_text()) == report


def test_profile_prints_a_table(run_folder: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["profile", str(run_folder), "--out", str(tmp_path / "p")])
    assert done.exit_code == 0, done.output
    assert "GFLOP/s" in done.stdout
    assert "level 0 head" in done.stdout


def test_only_the_native_backend_has_stages(run_folder: Path) -> None:
    engine = Engine.load(run_folder, backend="reference")
    with pytest.raises(ConfigError, match="native"):
        profile_request(engine, [[engine.item_ids.ids([0])[0]]], 5, 5)


def test_soak_counts_requests_and_edits(run_folder: Path) -> None:
    done = CliRunner().invoke(app, ["bench", "soak", str(run_folder), "--seconds", "2", "--json"])
    assert done.exit_code == 0, done.output
    row = json.loads(done.stdout)["rows"][0]
    assert row["requests"] > 20
    assert row["edits"] > 0
    assert row["growth_bytes"] < 100e6
    assert len(row["resident_bytes"]) == 30


def test_soak_reports_what_a_thread_raised(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(Engine, "recommend", fail)
    done = CliRunner().invoke(app, ["bench", "soak", str(run_folder), "--seconds", "60"])
    assert isinstance(done.exception, ZeroDivisionError)
