"""Scoring on a local Ray cluster of two workers, one of which is killed at work."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
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
from mmgrec.scoring.scorer import Scorer
from mmgrec.scoring.settings import OnError, ScoreSettings
from mmgrec_engine.errors import RequestError
from tests_shared import LOCAL_RAY

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
ray = pytest.importorskip("ray", reason="the extra 'batch' is not installed")

USERS = 4_000
SETTINGS = ScoreSettings(k=3, beam_width=10)


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray.init(**LOCAL_RAY)
    ray.data.DataContext.get_current().enable_progress_bars = False
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def job(run_folder: Path, dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A job that was done on this machine."""
    folder = tmp_path_factory.mktemp("job")
    write_synthetic_users(dataset, folder / "users.parquet", USERS)
    job = Job(run_folder, folder / "users.parquet", folder / "local", SETTINGS, 250, 64)
    score(job, LocalRunner(1), Console(quiet=True))
    return job


def workers(name: str) -> list[int]:
    """Processes of Ray actors that map with a class of this name."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
        except OSError:  # has ended
            continue
        if command.startswith(b"ray::") and name.encode() in command:
            found.append(int(folder.name))
    return found


class Killer:
    """Kills one of the workers when it is called first."""

    def __init__(self, name: str) -> None:
        self.name, self.before = name, list[int]()

    def __call__(self) -> None:
        if not self.before:
            self.before = workers(self.name)
            os.kill(self.before[0], signal.SIGKILL)


@pytest.mark.usefixtures("cluster")
def test_shards_are_those_of_one_machine_though_a_worker_is_killed(
    job: Job, tmp_path: Path
) -> None:
    from mmgrec.scoring.on_ray import RayRunner

    killer = Killer("ShardWorker")

    def runner(*arguments: Any) -> None:  # noqa: ANN401
        *rest, advance = arguments
        RayRunner(workers=2)(*rest, advance=_after(killer, advance))

    there = Job(job.run, job.input, tmp_path / "ray", SETTINGS, 250, 64)
    report = score(there, runner, Console(quiet=True))
    assert len(killer.before) == 2
    assert report["scored_users"] == USERS
    names = sorted(path.name for path in job.output.iterdir())
    assert sorted(path.name for path in there.output.iterdir()) == names
    for name in names:
        assert (there.output / name).read_bytes() == (job.output / name).read_bytes()


@pytest.mark.usefixtures("cluster")
def test_what_a_worker_refuses_is_the_error_of_the_job(job: Job, tmp_path: Path) -> None:
    from mmgrec.scoring.on_ray import RayRunner

    table = pq.read_table(job.input).slice(0, 300)
    histories = table["history"].to_pylist()
    histories[270] = ["zz"]
    pq.write_table(table.set_column(1, "history", [histories]), tmp_path / "users.parquet")
    bad = Job(job.run, tmp_path / "users.parquet", tmp_path / "bad", SETTINGS, 250, 64)
    with pytest.raises(RequestError, match=r"row 270 of the input \(user 270\)"):
        score(bad, RayRunner(workers=1), Console(quiet=True))
    skipped = Job(job.run, bad.input, bad.output, SETTINGS, 250, 64, OnError.skip)
    assert score(skipped, LocalRunner(1), Console(quiet=True))["rejected"] == 1


def _after(killer: Killer, advance: Callable[[int], object]) -> Callable[[int], object]:
    def counted(users: int) -> None:
        killer()
        advance(users)

    return counted


@pytest.mark.usefixtures("cluster")
def test_the_scorer_is_a_function_for_ray_data(job: Job) -> None:
    killer = Killer("MapBatches(Scorer)")
    users = ray.data.read_parquet(str(job.input), override_num_blocks=8)
    results = users.map_batches(
        Scorer,
        fn_constructor_args=(str(job.run), SETTINGS),
        concurrency=2,
        num_cpus=0.5,  # whole ones would leave none to read with
        batch_size=250,
        batch_format="pyarrow",
    )
    parts = []
    for batch in results.iter_batches(batch_size=None, batch_format="pyarrow"):
        killer()
        parts.append(batch)
    found = pl.DataFrame(pa.concat_tables(parts)).sort("user", "rank")
    assert len(killer.before) == 2
    assert found.equals(pl.DataFrame(pq.read_table(job.output)))
