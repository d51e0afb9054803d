"""A scoring job that is killed: started again it ends with the files of an uninterrupted one."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import score_script
from nursery import Nursery
from rich.console import Console

from mmgrec.data.dataset import Dataset
from mmgrec.profiling.synthetic_users import write_synthetic_users
from mmgrec.scoring.job import LocalRunner, score

KILLS = 10
USERS, SHARD, BATCH = 8_000, 500, 64


@pytest.fixture
def nursery() -> Iterator[Nursery]:
    nursery = Nursery(score_script.__file__)
    yield nursery
    nursery.close()


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


@pytest.fixture(scope="module")
def table(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("users") / "users.parquet"
    write_synthetic_users(dataset, path, USERS)
    return path


@pytest.fixture(scope="module")
def expected(run_folder: Path, table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a job that nobody interrupted."""
    out = tmp_path_factory.mktemp("whole") / "out"
    job = score_script.job_of(str(run_folder), str(table), str(out), str(SHARD), str(BATCH))
    report = score(job, LocalRunner(2), Console(quiet=True))
    assert report["users"] == report["scored_users"] == USERS
    assert report["shards"] == USERS // SHARD
    return out


def test_killed_at_ten_random_moments(
    run_folder: Path, table: Path, expected: Path, tmp_path: Path, nursery: Nursery
) -> None:
    rng = random.Random(2)
    out = tmp_path / "out"
    command = f"run {run_folder} {table} {out} {SHARD} {BATCH}"
    for kill in range(KILLS):
        nursery.run(f"{command} {1 + kill % 2}", kill_after=rng.uniform(0, 0.25))
        for shard in out.glob("*.parquet"):
            assert shard.read_bytes() == (expected / shard.name).read_bytes()
    assert nursery.run(f"{command} 2") == (["begun"], 0)
    assert contents(out) == contents(expected)
    users = pq.read_table(out)["user"].to_pylist()
    assert sorted(set(users)) == list(range(USERS))
    assert users == sorted(users)


def test_killed_before_any_call_to_the_disk(
    run_folder: Path, dataset: Dataset, tmp_path: Path, nursery: Nursery
) -> None:
    table, out = tmp_path / "users.parquet", tmp_path / "out"
    write_synthetic_users(dataset, table, 60)
    rows = pq.read_table(table)
    # Some rows of the second shard cannot be scored, so that rejects are written, too.
    histories = rows["history"].to_pylist()
    histories[35] = histories[41] = []
    pq.write_table(rows.set_column(1, "history", [histories]), table)
    words = (str(run_folder), str(table), str(out), "30", "16")

    def score_the_rest() -> dict[str, bytes]:
        score(score_script.job_of(*words), LocalRunner(1), Console(quiet=True))
        found = contents(out)
        shutil.rmtree(out)
        return found

    whole = score_the_rest()
    assert "_rejects/part-00001.parquet" in whole
    steps = 0
    while (code := nursery.run(f"die {steps} {' '.join(words)} 1")[1]) != 0:
        assert code == 9
        assert score_the_rest() == whole
        steps += 1
    assert steps > 15
