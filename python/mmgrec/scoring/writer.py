"""One shard on its way to disk."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from mmgrec.scoring.scorer import Scored
from mmgrec.scoring.shards import DROPPED_KEY, ROWS_KEY, OutputFolder, rows_note
from mmgrec.scoring.source import Span
from mmgrec_engine.artifact import partial_of, put_in_place, write_file

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
        self._partial = partial_of(folder.shard(span))
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
            table = pa.concat_tables(self._rejects)
            write_file(rejects, lambda path: pq.write_table(table, path, compression="zstd"))
        else:
            rejects.unlink(missing_ok=True)
        put_in_place(self._partial, self._folder.shard(self._span))

    def abandon(self) -> None:
        """Remove what was written so far."""
        try:
            self._file.close()
        finally:  # a full disk refuses the footer as well
            self._partial.unlink(missing_ok=True)

    def _flush(self) -> None:
        rows = pa.concat_tables(self._waiting) if self._waiting else None
        if rows:
            self._file.write_table(rows.combine_chunks(), row_group_size=len(rows))
        self._waiting = []
