"""One shard on its way to disk."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mmgrec.scoring.scorer import Scored
from mmgrec.scoring.shards import DROPPED_KEY, ROWS_KEY, OutputFolder, move_in, rows_note
from mmgrec.scoring.source import Span

ROWS_PER_GROUP = 1 << 17
"""Results that are kept in memory before they become a row group."""


class ShardWriter:
    """Writes the results of a shard piece by piece; it exists for readers once `close` is done.

    ::

        results -> .part-00000.parquet.PID.part, rejects beside;  close: fsync, rejects moved in,
        then the results: a shard that is there has its rejects
    """

    def __init__(self, folder: OutputFolder, span: Span, schema: pa.Schema) -> None:
        self._folder, self._span = folder, span
        self._rejects: list[pa.Table] = []
        self._waiting: list[pa.Table] = []
        self._dropped = 0
        self._partial = _partial(folder.shard(span))
        self._file = pq.ParquetWriter(
            self._partial, schema, compression="zstd", use_dictionary=["user", "item"]
        )

    def add(self, scored: Scored) -> None:
        """Append the results of the next rows."""
        self._waiting.append(scored.results)
        self._dropped += scored.dropped
        if len(scored.rejects):
            self._rejects.append(scored.rejects)
        if sum(map(len, self._waiting)) >= ROWS_PER_GROUP:
            self._flush()

    def close(self) -> None:
        """Finish the shard."""
        self._flush()
        notes = {ROWS_KEY: rows_note(self._span), DROPPED_KEY: str(self._dropped)}
        self._file.add_key_value_metadata(notes)
        self._file.close()
        rejects = self._folder.rejects(self._span)
        if self._rejects:
            rejects.parent.mkdir(exist_ok=True)
            partial = _partial(rejects)
            pq.write_table(pa.concat_tables(self._rejects), partial, compression="zstd")
            move_in(partial, rejects)
        else:
            rejects.unlink(missing_ok=True)
        move_in(self._partial, self._folder.shard(self._span))

    def abandon(self) -> None:
        """Remove what was written so far."""
        self._file.close()
        self._partial.unlink(missing_ok=True)

    def _flush(self) -> None:
        rows = pa.concat_tables(self._waiting) if self._waiting else None
        if rows:
            self._file.write_table(rows.combine_chunks(), row_group_size=len(rows))
        self._waiting = []


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.part")
