"""A slower case is told from noise; synthetic rows with the noise that two real runs have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from mmgrec.cli.main import app
from mmgrec.profiling.bench_schema import ReadReport, complete_row, make_report, relative_noise
from mmgrec.profiling.compare import Comparison, compare_reports
from mmgrec_engine.errors import ArtifactError

CASES, ROUNDS = 40, 30
PLANTED = 17


def report(
    seed: int,
    *,
    drift: float = 1.0,
    planted: float = 1.0,
    rivals: float = 1.0,
    noise: float = 0.02,
    between: float = 0.015,
) -> dict[str, Any]:
    """A run: rounds scatter upwards, whole cases and single methods move from run to run.

    ``drift``: the machine's speed; ``planted``: of our method in one case; ``rivals``: of the
    baselines there.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for case in range(CASES):
        moved = drift * rng.normal(1, between)
        for method, factor in (("native", planted), ("torch", rivals), ("faiss", rivals)):
            usual = 1e-3 * (case + 1) * (1 if method == "native" else 3)
            usual *= moved * rng.normal(1, between / 2) * (factor if case == PLANTED else 1)
            seconds = usual * (1 + np.abs(rng.normal(0, noise, ROUNDS)))
            row = {"bench": "op", "case": {"n": case}, "backend": method, "threads": 1}
            times = {"median_s": float(np.median(seconds)), "best_s": float(seconds.min())}
            rows.append(row | times | {"rounds": ROUNDS})
    rows.append(memory(2.26))
    return make_report({}, rows)


def memory(size: float) -> dict[str, Any]:
    """A row without times."""
    case = {"bench": "trie_memory", "case": {"N": 10}, "backend": "native"}
    return case | {"bytes_per_item": size}


def compare(before: dict[str, Any], after: dict[str, Any]) -> Comparison:
    return compare_reports(*(ReadReport.model_validate(x) for x in (before, after)))


def keys(found: Comparison) -> list[str]:
    return [change.row.key for change in found.slower]


@pytest.mark.parametrize("seed", range(10))
def test_two_runs_of_the_same_code_raise_no_alarm(seed: int) -> None:
    assert keys(compare(report(seed), report(seed + 100))) == []
    assert keys(compare(report(seed, noise=0.1), report(seed + 100, noise=0.1))) == []


@pytest.mark.parametrize("seed", range(10))
def test_a_fifth_more_time_in_one_case_is_told(seed: int) -> None:
    found = compare(report(seed), report(seed + 100, planted=1.2))
    assert keys(found) == [f"op n={PLANTED} native threads=1"]
    assert found.slower[0].change == pytest.approx(0.2, abs=0.06)
    assert keys(compare(report(seed + 100, planted=1.2), report(seed))) == []


def test_a_slower_median_alone_is_told_where_runs_scatter_little() -> None:
    after = report(0)
    after["rows"][0]["median_s"] *= 1.2
    assert keys(compare(report(0), after)) == ["op n=0 native threads=1"]


def test_a_slower_machine_is_no_slower_code() -> None:
    assert keys(compare(report(0), report(100, drift=1.5))) == []
    slower = compare(report(0), report(100, drift=1.5, planted=1.2))
    assert keys(slower) == [f"op n={PLANTED} native threads=1"]
    assert slower.machine == pytest.approx(0.5, abs=0.05)


def test_a_case_whose_baselines_moved_as_well_is_unclear() -> None:
    found = compare(report(0), report(100, planted=1.3, rivals=1.3))
    assert keys(found) == []
    assert [change.row.case for change in found.of("unclear")] == [{"n": PLANTED}]


def test_a_run_too_noisy_for_a_fifth_says_so() -> None:
    found = compare(report(0, between=0.2), report(100, between=0.2, planted=1.2))
    assert len(found.of("unclear")) > CASES / 2


def test_more_bytes_per_item_are_told() -> None:
    after = report(100)
    after["rows"][-1] = complete_row(memory(2.4))
    assert keys(compare(report(0), after)) == ["trie_memory N=10 native"]


def test_another_machine_is_refused_and_other_versions_are_named() -> None:
    after = report(100)
    after["versions"] = after["versions"] | {"torch": "1.0"}
    (warning,) = compare(report(0), after).warnings
    assert "torch" in warning
    after["machine"] = after["machine"] | {"processor": "another"}
    with pytest.raises(ArtifactError, match="different machines: processor"):
        compare(report(0), after)


def test_reports_without_a_common_case_are_refused() -> None:
    after = report(100)
    after["rows"] = [complete_row(memory(2.0))]
    with pytest.raises(ArtifactError, match="no timed case in common"):
        compare(report(0), after)


def test_noise_is_the_deviation_of_normal_rounds() -> None:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(200):
        seconds = rng.normal(1, 0.03, 50)
        found.append(relative_noise(seconds.min(), float(np.median(seconds)), 50))
    assert np.mean([noise for noise in found if noise]) == pytest.approx(0.03, rel=0.1)
    assert relative_noise(1.0, 1.0, 2) is None


def run(*words: str) -> Any:  # noqa: ANN401
    return CliRunner().invoke(app, ["bench", *words])


def written(path: Path, content: dict[str, Any]) -> str:
    path.write_text(json.dumps(content))
    return str(path)


def test_the_command(tmp_path: Path) -> None:
    a, b = written(tmp_path / "a", report(0)), written(tmp_path / "b", report(100))
    c = written(tmp_path / "c", report(100, planted=1.2))
    silent = run("--compare", a, b)
    assert silent.exit_code == 0, silent.output
    assert f"0 slower, 0 faster, 0 unclear, {CASES + 1} same" in silent.stdout
    told = run("--compare", a, c)
    assert told.exit_code == 1
    assert f"op n={PLANTED} native" in told.stdout
    found = json.loads(run("--compare", a, c, "--json").stdout)
    assert found["slower"] == [f"op n={PLANTED} native threads=1"]
    assert len(found["changes"]) == CASES + 1


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"rows": []}', '{"format": "mmgrec bench", "version": 2}', "\x00\xff"],
)
def test_what_is_no_report_is_refused(tmp_path: Path, text: str) -> None:
    a = written(tmp_path / "a", report(0))
    (tmp_path / "bad").write_text(text)
    done = run("--compare", a, str(tmp_path / "bad"))
    assert isinstance(done.exception, ArtifactError)
    assert "measure again" in str(done.exception)


def test_impossible_times_are_refused(tmp_path: Path) -> None:
    bad = report(0)
    bad["rows"][3]["median_s"] = -1.0
    a = written(tmp_path / "a", report(0))
    done = run("--compare", a, written(tmp_path / "bad", bad))
    assert "rows.3.median_s" in str(done.exception)


def test_comparing_measures_nothing(tmp_path: Path) -> None:
    a = written(tmp_path / "a", report(0))
    assert "measures nothing" in str(run("--compare", a, a, "ops").exception)
    assert "--compare" in run().stdout


def test_an_op_that_is_slower_in_all_cases_is_told() -> None:
    after = report(100)
    for row in after["rows"]:
        if row["backend"] == "native" and "median_s" in row:
            row["median_s"] *= 1.25
            row["best_s"] *= 1.25
    found = compare(report(0), after)
    assert len(found.slower) > 0.9 * CASES
    assert all(change.change > 0.15 for change in found.slower)
