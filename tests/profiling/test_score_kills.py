"""A batch job that is killed at random moments, and what its comparison sees."""

from __future__ import annotations

import shutil
from pathlib import Path

import polars as pl
import pytest

from mmgrec.profiling.score_kills import bench_score_kills, compare, score_kills_table


def test_a_killed_job_leaves_the_files_of_an_undisturbed_one(run_folder: Path) -> None:
    said: list[str] = []
    report = bench_score_kills(run_folder, 2_000, 3, 10, 1, 2, said.append, rows_per_shard=250)
    (row,) = report["rows"]
    assert row["identical"]
    assert row["different"] == []
    assert row["files"] == 8 + 3  # _job.json, _SUCCESS, _lock
    assert (row["rows"], row["rows_lost"], row["rows_doubled"]) == (3 * 2_000, 0, 0)
    assert 1 <= len(row["kills"]) <= 2
    assert "kill 1 of 2" in said
    assert score_kills_table(report).row_count == len(row["kills"])


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    rows = pl.DataFrame({"user": [0, 0, 1, 1], "rank": [1, 2, 1, 2], "item": [5, 6, 7, 8]})
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
        rows.write_parquet(tmp_path / name / "part-00000.parquet")
        (tmp_path / name / "_SUCCESS").write_text("{}")
    return tmp_path / "whole", tmp_path / "killed"


def test_equal_folders_are_identical(folders: tuple[Path, Path]) -> None:
    assert compare(*folders).identical


def test_lost_and_doubled_rows_are_counted(folders: tuple[Path, Path]) -> None:
    whole, killed = folders
    rows = pl.read_parquet(whole / "part-00000.parquet")
    rows[[0, 1, 1, 2]].write_parquet(killed / "part-00000.parquet")
    found = compare(whole, killed)
    assert not found.identical
    assert found.different == ["part-00000.parquet"]
    assert (found.rows, found.rows_lost, found.rows_doubled) == (4, 1, 1)


def test_a_file_that_only_one_has_differs(folders: tuple[Path, Path]) -> None:
    whole, killed = folders
    shutil.copy(killed / "part-00000.parquet", killed / ".part-00000.parquet.7.part")
    assert compare(whole, killed).different == [".part-00000.parquet.7.part"]
