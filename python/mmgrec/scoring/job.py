"""`score`: everything that is missing in an output folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console

from mmgrec.scoring.local import score_spans
from mmgrec.scoring.progress import progress_of
from mmgrec.scoring.scorer import Scorer
from mmgrec.scoring.settings import OnError, ScoreSettings, artifact_fingerprint
from mmgrec.scoring.shards import OutputFolder, ShardCounts
from mmgrec.scoring.source import Source, Span
from mmgrec_engine.errors import RequestError
from mmgrec_engine.settings import num_threads

FORMAT = 1


@dataclass(frozen=True)
class Job:
    """What to score, and where.

    ``rows_per_shard`` belongs to the results: a folder's shards all have it. ``batch_users``, rows
    per native call, and ``on_error`` may change from one start to the next.
    """

    run: Path
    input: Path
    output: Path
    settings: ScoreSettings
    rows_per_shard: int = 50_000
    batch_users: int = 512
    on_error: OnError = OnError.stop


class Runner(Protocol):
    """Scores spans of a job's input, wherever."""

    def __call__(
        self,
        job: Job,
        scorer: Scorer,
        source: Source,
        output: OutputFolder,
        spans: Sequence[Span],
        advance: Callable[[int], object],
    ) -> None:
        """Write the shards of the spans; count users that are done."""


@dataclass(frozen=True)
class LocalRunner:
    """Scores on this machine; ``threads``: by default one per processor."""

    threads: int | None = None

    def __call__(
        self,
        job: Job,
        scorer: Scorer,
        source: Source,
        output: OutputFolder,
        spans: Sequence[Span],
        advance: Callable[[int], object],
    ) -> None:
        """See `Runner`."""
        score_spans(
            scorer,
            source,
            output,
            spans,
            workers=self.threads or num_threads(),
            batch_users=job.batch_users,
            advance=advance,
        )


def score(job: Job, runner: Runner, console: Console, *, restart: bool = False) -> dict[str, Any]:
    """Score all rows of the input that have no shard yet.

    ::

        check the input; claim the folder for (artifact, input, settings)
        runner(spans without a whole shard);  _SUCCESS with the totals

    Parameters
    ----------
    job : Job
        What to do. A job that was killed goes on where it was; finished shards are kept.
    runner : Runner
        Who scores.
    console : Console
        Progress.
    restart : bool
        Forget what is in the folder.

    Returns
    -------
    dict
        ``shards``, ``users``, ``results``, ``rejected``, ``dropped`` of the whole job;
        ``scored_users``, ``seconds`` and ``users_per_s`` of this start.

    Raises
    ------
    DataError
        The input cannot be used.
    RequestError
        A row cannot be scored, and is not to be skipped.
    ConfigError, ArtifactError
        The folder is another job's, or another process writes in it; the run cannot be loaded.
    """
    source = Source(job.input)
    scorer = Scorer(job.run, job.settings, on_error=job.on_error)
    scorer.check(source.schema)
    output = OutputFolder(job.output, source.num_rows, job.rows_per_shard)
    with output.locked():
        if restart:
            output.restart()
        output.claim(_described(job, source))
        found = {span: output.finished(span) for span in output.spans}
        done = sum((counts for counts in found.values() if counts), ShardCounts())
        _check_rejects(job, done)
        missing = [span for span, counts in found.items() if counts is None]
        if missing:
            output.begin()
        console.print(_plan(source, len(missing), len(found)), highlight=False)
        started = time.monotonic()
        with progress_of(console, source.num_rows, done.users) as progress:
            runner(job, scorer, source, output, missing, progress.advance)
        seconds = time.monotonic() - started
        counts = sum((output.finished(s) or ShardCounts() for s in output.spans), ShardCounts())
        output.succeed(asdict(counts))
    scored = counts.users - done.users
    return {
        **asdict(counts),
        "scored_users": scored,
        "seconds": seconds,
        "users_per_s": scored / seconds if scored else 0.0,
    }


def _described(job: Job, source: Source) -> dict[str, Any]:
    settings = {f"settings.{n}": v for n, v in job.settings.described().items()}
    return {
        "format": FORMAT,
        "artifact": artifact_fingerprint(job.run),
        "input": source.described(),
        "rows_per_shard": job.rows_per_shard,
        **settings,
    }


def _check_rejects(job: Job, done: ShardCounts) -> None:
    if done.rejected and job.on_error is OnError.stop:
        raise RequestError(
            f"{job.output} was begun with --on-error skip, and {done.rejected} rows were rejected",
            remedy="go on with --on-error skip, or start over with --restart",
        )


def _plan(source: Source, missing: int, shards: int) -> str:
    columns = ", ".join(source.schema.names)
    kept = f"; {shards - missing} of {shards} shards are there already" if missing < shards else ""
    return f"{source.num_rows:,} users with columns {columns}{kept}"
