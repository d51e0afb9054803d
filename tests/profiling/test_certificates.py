"""The report on certificates, on a small trained run; how long things take decides nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mmgrec.cli.main import app
from mmgrec.data.dataset import Dataset
from mmgrec.profiling.certificates import WIDTHS, bench_certificates, certificates_table
from mmgrec_engine.engine import Engine


def test_shares_and_counts_fit_together(run_folder: Path, dataset: Dataset) -> None:
    steps: list[str] = []
    report = bench_certificates(Engine.load(run_folder), dataset, 40, 20_000, steps.append)
    assert [row["case"]["beam_width"] for row in report["rows"]] == list(WIDTHS)
    assert len(steps) == len(WIDTHS)
    for row in report["rows"]:
        # What is certified is right; with so few items nothing runs into the limit.
        assert 0 <= row["certified_share"] <= row["right_share"] <= 1
        assert row["limit_share"] == 0
        assert 1 <= row["expanded_median"] <= row["expanded_p99"]
        assert row["ratio"] == pytest.approx(row["baseline_median_s"] / row["median_s"])
    # 50 beams hold the whole catalogue of 40.
    assert report["rows"][-1]["right_share"] == 1
    assert certificates_table(report).row_count == len(WIDTHS)


def test_where_nothing_is_proved_nobody_is_right(run_folder: Path, dataset: Dataset) -> None:
    report = bench_certificates(Engine.load(run_folder), dataset, 40, 1, lambda _: None)
    for row in report["rows"]:
        assert row["right_share"] <= 1 - row["limit_share"]


def test_the_command(run_folder: Path) -> None:
    done = CliRunner().invoke(app, ["bench", "certificates", str(run_folder), "--users", "3"])
    assert done.exit_code == 0, done.output
    assert "certified" in done.stdout
    words = ["bench", "certificates", str(run_folder), "--users", "3", "--json"]
    report = json.loads(CliRunner().invoke(app, words).stdout)
    assert report["rows"][0]["bench"] == "certificates"
    assert report["rows"][0]["case"]["users"] == 3
