"""Scoring jobs: shards, restarts, refusals, bounded memory, the command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from mmgrec.data.dataset import Dataset
from mmgrec.profiling.synthetic_users import write_synthetic_users
from mmgrec.scoring.job import Job, LocalRunner, score
from mmgrec.scoring.settings import OnError, ScoreSettings
from mmgrec.scoring.shards import OutputFolder
from mmgrec_engine.engine import Engine
from mmgrec_engine.errors import ArtifactError, ConfigError, DataError, RequestError

USERS = 1_000
COMMAND = [sys.executable, "-c", "from mmgrec.cli.main import main; main()"]


@pytest.fixture
def job(run_folder: Path, dataset: Dataset, tmp_path: Path) -> Job:
    write_synthetic_users(dataset, tmp_path / "users.parquet", USERS)
    settings = ScoreSettings(k=3, beam_width=10)
    return Job(run_folder, tmp_path / "users.parquet", tmp_path / "out", settings, 300, 64)


def run(job: Job, threads: int = 2, *, restart: bool = False) -> dict[str, Any]:
    return score(job, LocalRunner(threads), Console(quiet=True), restart=restart)


def test_output_is_the_engines_in_the_order_of_the_input(job: Job) -> None:
    report = run(job)
    assert (report["shards"], report["users"], report["results"]) == (4, USERS, 3 * USERS)
    names = sorted(path.name for path in job.output.glob("*.parquet"))
    assert names == [f"part-0000{i}.parquet" for i in range(4)]
    histories = pq.read_table(job.input)["history"].to_pylist()
    found = Engine.load(job.run).recommend(histories, k=3, beam_width=10)
    results = pq.read_table(job.output)
    assert results["user"].to_pylist() == [user for user in range(USERS) for _ in range(3)]
    assert results["item"].to_pylist() == found.items.ravel().tolist()
    assert results["score"].to_pylist() == found.scores.ravel().tolist()
    totals = json.loads((job.output / "_SUCCESS").read_text())
    assert totals == {key: report[key] for key in totals}
    assert totals["users"] == USERS


def test_only_missing_and_damaged_shards_are_scored_again(job: Job) -> None:
    run(job)
    parts = sorted(job.output.glob("*.parquet"))
    before = [part.read_bytes() for part in parts]
    parts[0].unlink()
    parts[2].write_bytes(before[2][:-20])
    again = run(replace(job, on_error=OnError.skip), threads=1)
    assert (again["scored_users"], again["users"]) == (600, USERS)
    assert [part.read_bytes() for part in parts] == before
    assert run(job)["scored_users"] == 0
    # Row groups may come out otherwise, rows do not.
    parts[1].unlink()
    run(replace(job, batch_users=7))
    assert pq.read_table(parts[1]) == pq.read_table(pa.BufferReader(before[1]))


def test_another_job_is_refused_and_named(job: Job, dataset: Dataset, tmp_path: Path) -> None:
    run(job)
    before = (job.output / "part-00001.parquet").read_bytes()
    other = job.settings.model_copy(update={"k": 4, "where": "not few"})
    pl.DataFrame({"item": ["i01"]}).write_parquet(tmp_path / "few.parquet")
    other = other.model_copy(update={"filters": {"few": tmp_path / "few.parquet"}})
    with pytest.raises(ConfigError, match=r"settings\.filter few, settings\.k, settings\.where"):
        run(replace(job, settings=other))
    with pytest.raises(ConfigError, match="rows_per_shard differ"):
        run(replace(job, rows_per_shard=100))
    write_synthetic_users(dataset, job.input, USERS, seed=1)
    with pytest.raises(ConfigError, match="input differ"):
        run(job)
    assert (job.output / "part-00001.parquet").read_bytes() == before
    assert run(job, restart=True)["scored_users"] == USERS
    assert (job.output / "part-00001.parquet").read_bytes() != before


def test_a_folder_of_something_else_or_in_use_is_left_alone(job: Job) -> None:
    job.output.mkdir()
    pl.DataFrame({"a": [1]}).write_parquet(job.output / "mine.parquet")
    with pytest.raises(ConfigError, match="no job of mmgrec"):
        run(job)
    (job.output / "mine.parquet").unlink()
    with (
        OutputFolder(job.output, 1, 1).locked(),
        pytest.raises(ArtifactError, match="another process"),
    ):
        run(job)


@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_a_folder_whose_job_cannot_be_read_is_left_alone_until_restarted(
    job: Job, text: str
) -> None:
    run(job)
    (job.output / "_job.json").write_text(text)
    with pytest.raises(ArtifactError, match="--restart"):
        run(job)
    assert len(list(job.output.glob("part-*"))) == 4
    assert run(job, restart=True)["scored_users"] == USERS


def spoil(job: Job, rows: tuple[int, ...]) -> None:
    table = pq.read_table(job.input)
    histories = table["history"].to_pylist()
    for row in rows:
        histories[row] = ["zz"]
    pq.write_table(table.set_column(1, "history", [histories]), job.input)


def test_a_bad_row_stops_and_can_be_skipped_without_losing_shards(job: Job) -> None:
    spoil(job, (650, 651, 999))
    with pytest.raises(RequestError, match=r"row 650 of the input \(user 650\)"):
        run(job, threads=1)
    assert not (job.output / "_SUCCESS").exists()
    kept = sorted(path.name for path in job.output.glob("part-*"))
    assert kept == ["part-00000.parquet", "part-00001.parquet"]
    assert list(job.output.glob(".*.part")) == []
    report = run(replace(job, on_error=OnError.skip))
    assert (report["users"], report["rejected"], report["scored_users"]) == (USERS, 3, 400)
    rejects = pq.read_table(job.output / "_rejects")
    assert rejects["row"].to_pylist() == [650, 651, 999]
    assert rejects["reason"][0].as_py() == "unknown item id 'zz' in 'history'"
    scored = set(pq.read_table(job.output)["user"].to_pylist())
    assert scored == set(range(USERS)) - {650, 651, 999}
    with pytest.raises(RequestError, match="was begun with --on-error skip"):
        run(job)


def test_no_rows_give_no_shards(job: Job) -> None:
    pq.write_table(pq.read_table(job.input).slice(0, 0), job.input)
    assert run(job)["shards"] == 0
    assert (job.output / "_SUCCESS").exists()


def test_a_full_disk_leaves_no_broken_shard(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    write, calls = pq.ParquetWriter.write_table, []

    def fail(self: pq.ParquetWriter, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        calls.append(None)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        write(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(pq.ParquetWriter, "write_table", fail)
        with pytest.raises(OSError, match="No space left"):
            run(job, threads=1)
    assert [path.name for path in job.output.glob("*part-*")] == ["part-00000.parquet"]
    assert run(job)["scored_users"] == USERS - 300


MEMORY = """
import sys
from pathlib import Path
from mmgrec.cli.main import main

try:
    main()
finally:
    (peak,) = (l for l in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in l)
    print(peak.split()[1], file=sys.stderr)
"""


def test_memory_does_not_grow_with_the_input(job: Job, dataset: Dataset, tmp_path: Path) -> None:
    peaks = []
    # With 10,000 users a process has not yet taken all the memory that it keeps from then on.
    for users in (40_000, 400_000):
        write_synthetic_users(dataset, job.input, users)
        # The worst case: one row group, and ignored columns that would take much room.
        table = pq.read_table(job.input)
        table = table.append_column("blob", pa.array([b"x" * 500] * users))
        pq.write_table(table, job.input, row_group_size=users, use_dictionary=False)
        out = ("--output", str(tmp_path / f"out{users}"), "--beam-width", "3", "-k", "3")
        words = ("score", str(job.run), "--input", str(job.input), *out, "--threads", "1")
        done = subprocess.run(
            [sys.executable, "-c", MEMORY, *words], capture_output=True, text=True, check=True
        )
        peaks.append(int(done.stderr.split()[-1]))
    assert peaks[1] < 1.15 * peaks[0]


BLOCK = """
import sys
sys.modules["torch"] = None
from mmgrec.cli.main import main

main()
"""


def test_the_command_scores_without_torch_and_says_how_it_goes(job: Job, tmp_path: Path) -> None:
    pl.DataFrame({"item": [f"i{i:02d}" for i in range(20)]}).write_csv(tmp_path / "low.csv")
    words = ["score", job.run, "--input", job.input, "--output", job.output, "-k", 3]
    words += ["--filter", f"low={tmp_path / 'low.csv'}", "--where", "low", "--rows-per-shard", 500]
    environment = {**os.environ, "MMGREC_THREADS": "1"}

    def command(*more: object, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-c", BLOCK, *map(str, [*words, *more])],
            capture_output=True,
            text=True,
            check=False,
            env=environment,
        )
        assert done.returncode == code, done.stderr
        return done

    report = json.loads(command("--json").stdout)
    assert report["users"] == report["scored_users"] == USERS
    assert report["users_per_s"] > 0
    items = set(pq.read_table(job.output)["item"].to_pylist())
    assert items <= {f"i{i:02d}" for i in range(20)}
    again = command().stderr
    assert "2 of 2 shards are there already" in again
    assert "1,000 users" in again
    assert "--restart" in command("--include-seen", code=2).stderr
    assert "NAME=FILE" in command("--filter", "low", code=2).stderr
    assert "--threads" in command("--workers", 2, code=2).stderr
    assert "no folder of them" in command("--input", tmp_path / "none", code=2).stderr


def test_errors_of_the_input_come_before_anything_is_written(job: Job) -> None:
    pq.write_table(pa.table({"user": [1], "history": [[1, 2]]}), job.input)
    with pytest.raises(DataError, match="cannot hold item ids"):
        run(job)
    assert not job.output.exists()
