"""A job on a Ray cluster: shards as rows of a Ray data set, mapped by actors.

A shard is the unit that Ray repeats when an actor dies. It is written under its own name in one
move, so a repeated one replaces itself and nothing is doubled; Ray's own Parquet writer can leave
the files of a task that was killed after it had written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from mmgrec.scoring.local import score_spans
from mmgrec.scoring.scorer import Scorer
from mmgrec.scoring.settings import artifact_fingerprint
from mmgrec.scoring.shards import OutputFolder
from mmgrec.scoring.source import Source, Span
from mmgrec_engine.errors import ConfigError, MMGRecError, RequestError

if TYPE_CHECKING:
    from mmgrec.scoring.job import Job


class ShardWorker:
    """Scores whole shards; loads the engine with the first. All nodes must see the job's folders.

    What is refused comes back as a text: Ray would bury an error in its own.
    """

    def __init__(self, job: Job, num_rows: int, fingerprint: str, threads: int) -> None:
        self._job, self._fingerprint, self._threads = job, fingerprint, threads
        self._output = OutputFolder(job.output, num_rows, job.rows_per_shard)
        self._ready: tuple[Source, Scorer] | None = None

    def __call__(self, shards: pa.Table) -> pa.Table:
        """Score the shards of these numbers; return the users of each, and errors."""
        spans = [self._output.spans[number] for number in shards["shard"].to_pylist()]
        error = None
        try:
            self._score(spans)
        except MMGRecError as refused:
            error = str(refused)
        users = pa.array([span.end - span.begin for span in spans])
        return pa.table({"users": users, "error": pa.array([error] * len(spans), pa.string())})

    def _score(self, spans: Sequence[Span]) -> None:
        job = self._job
        if self._ready is None:
            scorer = Scorer(
                job.run, job.settings, on_error=job.on_error, fingerprint=self._fingerprint
            )
            source = Source(job.input)
            scorer.check(source.schema)
            self._ready = (source, scorer)
        source, scorer = self._ready
        score_spans(
            scorer,
            source,
            self._output,
            spans,
            workers=self._threads,
            batch_users=job.batch_users,
            advance=lambda _: None,
        )


@dataclass(frozen=True)
class RayRunner:
    """Scores on the Ray cluster that this process belongs to, or on a local one.

    ``workers``: actors, by default as many as the cluster has processors for; ``threads`` of each.
    """

    workers: int | None = None
    threads: int = 1

    def __call__(
        self,
        job: Job,
        scorer: Scorer,
        source: Source,
        output: OutputFolder,
        spans: Sequence[Span],
        advance: Callable[[int], object],
    ) -> None:
        """See `job.Runner`."""
        if not spans:
            return
        ray = _ray()
        rows = [{"shard": span.shard} for span in spans]
        workers = self.workers or max(int(ray.cluster_resources()["CPU"]) // self.threads, 1)
        done = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            ShardWorker,
            fn_constructor_args=(
                _absolute(job),
                source.num_rows,
                artifact_fingerprint(job.run),
                self.threads,
            ),
            batch_size=1,
            batch_format="pyarrow",
            concurrency=min(workers, len(rows)),
            num_cpus=self.threads,
            num_gpus=1 if job.settings.device == "cuda" else None,
        )
        for batch in done.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            for error in batch["error"].to_pylist():
                if error is not None:
                    raise RequestError(error)
            advance(sum(batch["users"].to_pylist()))


def _absolute(job: Job) -> Job:
    """Return the job with paths that hold in any working directory."""
    filters = {name: Path(path).resolve() for name, path in job.settings.filters.items()}
    return replace(
        job,
        run=job.run.resolve(),
        input=job.input.resolve(),
        output=job.output.resolve(),
        settings=job.settings.model_copy(update={"filters": filters}),
    )


def _ray() -> Any:  # noqa: ANN401 - a module that may be missing
    try:
        import ray
        import ray.data
    except ImportError:
        raise ConfigError(
            "--engine ray needs Ray", remedy="pip install 'mmgrec-engine[batch]'"
        ) from None
    if not ray.is_initialized():
        ray.init(log_to_driver=False, include_dashboard=False, configure_logging=False)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    return ray
