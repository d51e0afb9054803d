"""The output folder of a job: what is finished, what is missing, and for which job.

================== ============================================================================
file               contents
================== ============================================================================
part-00000.parquet results of the first ``rows_per_shard`` rows of the input, and so on
_job.json          artifact, input and settings that the folder is for; written first
_rejects/          rows that could not be scored, one file per shard that has any
_SUCCESS           totals as JSON; written last
_lock              held by the process that writes
================== ============================================================================

Readers of Parquet folders (pyarrow, Spark, Ray) leave names with ``_`` in front out.
"""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mmgrec.scoring.source import Span
from mmgrec_engine.artifact import ensure_folder, write_file
from mmgrec_engine.errors import ArtifactError, ConfigError
from mmgrec_engine.writers import write_json

JOB, SUCCESS, LOCK, REJECTS = "_job.json", "_SUCCESS", "_lock", "_rejects"
ROWS_KEY, DROPPED_KEY = b"mmgrec.rows", b"mmgrec.dropped"
"""In a shard's footer: the rows of the input that it is of; unknown ids that were left out."""


@dataclass(frozen=True)
class ShardCounts:
    """Of finished shards: rows of the input, of the results, rejected ones, ids left out."""

    shards: int = 0
    users: int = 0
    results: int = 0
    rejected: int = 0
    dropped: int = 0

    def __add__(self, other: ShardCounts) -> ShardCounts:
        return ShardCounts(*(a + b for a, b in zip(_values(self), _values(other), strict=True)))


class OutputFolder:
    """Shards of one job; made by `claim`."""

    def __init__(self, path: Path, num_rows: int, rows_per_shard: int) -> None:
        self.path = path
        starts = range(0, num_rows, rows_per_shard)
        self.spans = [Span(i, b, min(b + rows_per_shard, num_rows)) for i, b in enumerate(starts)]

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder, and keep other processes from writing in it.

        Raises
        ------
        ArtifactError
            Another process does, or it cannot be made.
        """
        ensure_folder(self.path)
        with (self.path / LOCK).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ArtifactError(
                    f"another process is scoring into {self.path}",
                    remedy="wait for it, or choose another --output",
                ) from None
            yield

    def claim(self, job: dict[str, Any]) -> None:
        """Say which job the folder is for, and remove what a killed write has left.

        Raises
        ------
        ConfigError
            It holds shards of another job, or Parquet files of something else.
        ArtifactError
            What it says of its job cannot be read, or it cannot be written to.
        """
        written = self.path / JOB
        if written.exists():
            _compare(self.path, _read_job(written), job)
        elif any(self.path.glob("*.parquet")):
            raise ConfigError(
                f"{self.path} holds Parquet files that no job of mmgrec has written",
                remedy="choose another --output",
            )
        else:
            write_file(written, write_json(job))
        for folder in (self.path, self.path / REJECTS):
            for leftover in folder.glob(".*.part"):
                leftover.unlink(missing_ok=True)

    def restart(self) -> None:
        """Forget the job and all its shards."""
        for file in [*self.path.glob("part-*.parquet"), self.path / SUCCESS, self.path / JOB]:
            file.unlink(missing_ok=True)
        shutil.rmtree(self.path / REJECTS, ignore_errors=True)

    def shard(self, span: Span) -> Path:
        """Return where a shard's results are, or go."""
        return self.path / f"part-{span.shard:05d}.parquet"

    def rejects(self, span: Span) -> Path:
        """Return where a shard's rejected rows are, or go, if there are any."""
        return self.path / REJECTS / self.shard(span).name

    def finished(self, span: Span) -> ShardCounts | None:
        """Count a shard; None where it is missing or not whole."""
        try:
            metadata = pq.read_metadata(self.shard(span))
            rejects = self.rejects(span)
            rejected = pq.read_metadata(rejects).num_rows if rejects.exists() else 0
        except (OSError, pa.ArrowException):
            return None
        notes = metadata.metadata or {}
        if notes.get(ROWS_KEY) != rows_note(span):
            return None
        dropped = int(notes.get(DROPPED_KEY, b"0"))
        return ShardCounts(1, span.end - span.begin, metadata.num_rows, rejected, dropped)

    def begin(self) -> None:
        """Say that shards are missing."""
        (self.path / SUCCESS).unlink(missing_ok=True)

    def succeed(self, totals: dict[str, Any]) -> None:
        """Say that all shards are there."""
        write_file(self.path / SUCCESS, write_json(totals))


def rows_note(span: Span) -> bytes:
    """Return what a shard says of its rows."""
    return f"{span.begin}-{span.end}".encode()


def _read_job(path: Path) -> dict[str, Any]:
    try:
        job = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(job, dict):
            raise ValueError(f"it holds no object but {type(job).__name__}")
    except (OSError, ValueError) as error:
        raise ArtifactError(
            f"{path} cannot be read, so nobody knows which job its folder is for",
            value=error,
            remedy="start over with --restart, or choose another --output",
        ) from error
    return job


def _compare(path: Path, there: dict[str, Any], wanted: dict[str, Any]) -> None:
    if there == wanted:
        return
    names = [n for n in sorted({*there, *wanted}) if there.get(n) != wanted.get(n)]
    raise ConfigError(
        f"{path} holds the shards of another job: {', '.join(names)} differ",
        value="; ".join(f"{n} {_short(wanted.get(n))}" for n in names),
        allowed="; ".join(f"{n} {_short(there.get(n))}" for n in names),
        remedy="choose another --output, or start over with --restart",
    )


def _short(value: Any) -> str:  # noqa: ANN401 - anything JSON can hold
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _values(counts: ShardCounts) -> tuple[int, ...]:
    return (counts.shards, counts.users, counts.results, counts.rejected, counts.dropped)
