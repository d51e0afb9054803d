"""The input of a job: Parquet files whose rows are numbered through, read piece by piece."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mmgrec.scoring.columns import known_columns
from mmgrec_engine.artifact import sha256_of
from mmgrec_engine.errors import DataError

READ_BUFFER = 1 << 20
"""Bytes of a column that are read at a time: memory does not grow with the input's row groups."""


@dataclass(frozen=True)
class Span:
    """Rows ``begin`` to ``end`` of the input, those of one shard."""

    shard: int
    begin: int
    end: int


@dataclass(frozen=True)
class Piece:
    """Some rows of a shard, in order; ``last``: the shard ends with them."""

    span: Span
    first_row: int
    table: pa.Table

    @property
    def last(self) -> bool:
        """Whether the shard ends with these rows."""
        return self.first_row + len(self.table) == self.span.end


class Source:
    """A Parquet file, or all ``*.parquet`` files of a folder in the order of their names.

    Raises
    ------
    DataError
        Nothing is there, a file is no Parquet, the files differ in their columns, or there are no
        users in them.
    """

    def __init__(self, path: Path) -> None:
        self._files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
        if not self._files or not all(file.is_file() for file in self._files):
            raise DataError(f"{path} is no Parquet file and no folder of them", remedy="check it")
        footers = [_footer(file) for file in self._files]
        self._rows = [footer[0] for footer in footers]
        self.schema = footers[0][1]
        for file, (_, schema) in zip(self._files, footers, strict=True):
            if not schema.equals(self.schema):
                raise DataError(
                    f"{file} has other columns than {self._files[0]}",
                    value=_shown(schema),
                    allowed=_shown(self.schema),
                )

    @property
    def num_rows(self) -> int:
        """Rows of all files."""
        return sum(self._rows)

    def described(self) -> list[dict[str, Any]]:
        """Return names, rows and checksums of the files; reads them once, whole."""
        return [
            {"name": file.name, "rows": rows, "sha256": sha256_of(file)}
            for file, rows in zip(self._files, self._rows, strict=True)
        ]

    def pieces(self, spans: Iterable[Span], size: int) -> Iterator[Piece]:
        """Yield the rows of spans, which ascend, in pieces of at most ``size``.

        ::

            a piece never crosses the end of a span; what lies between spans is not read where it
            fills row groups, and is read and dropped otherwise
        """
        ordered = enumerate(spans)
        # Neighbours are read in one go: numbers that grow together share their difference.
        for _, group in groupby(ordered, lambda pair: pair[1].shard - pair[0]):
            run = [span for _, span in group]
            rows = _Rows(self._batches(run[0].begin, run[-1].end, size))
            for span in run:
                for first in range(span.begin, span.end, size):
                    yield Piece(span, first, rows.take(min(size, span.end - first)))

    def _batches(self, begin: int, end: int, size: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows from ``begin`` to ``end`` in batches of any length."""
        file_begin = 0
        for path, count in zip(self._files, self._rows, strict=True):
            first, last = max(begin - file_begin, 0), min(end - file_begin, count)
            file_begin += count
            if first < last:
                yield from _rows_of_file(path, self.schema.names, first, last, size)


class _Rows:
    """Batches of any length, cut to order."""

    def __init__(self, batches: Iterator[pa.RecordBatch]) -> None:
        self._batches = batches
        self._left: pa.RecordBatch | None = None

    def take(self, count: int) -> pa.Table:
        parts = []
        while count > 0:
            if self._left is None or len(self._left) == 0:
                self._left = next(self._batches)
            parts.append(self._left.slice(0, count))
            self._left = self._left.slice(len(parts[-1]))
            count -= len(parts[-1])
        return pa.Table.from_batches(parts)


def _rows_of_file(
    path: Path, columns: list[str], begin: int, end: int, size: int
) -> Iterator[pa.RecordBatch]:
    try:
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=READ_BUFFER) as file:
            groups, start = _row_groups(file.metadata, begin, end)
            at = start
            for batch in file.iter_batches(size, row_groups=groups, columns=columns):
                first, last = max(begin - at, 0), min(end - at, len(batch))
                at += len(batch)
                if first < last:
                    yield batch.slice(first, last - first)
                if at >= end:
                    return
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} cannot be read", value=error, remedy="check the file") from error
    raise DataError(f"{path} became shorter while it was read")


def _row_groups(metadata: pq.FileMetaData, begin: int, end: int) -> tuple[list[int], int]:
    """Return the row groups that hold rows ``begin`` to ``end``, and the first row of the first."""
    groups: list[int] = []
    start = at = 0
    for group in range(metadata.num_row_groups):
        following = at + metadata.row_group(group).num_rows
        if at < end and following > begin:
            start = start if groups else at
            groups.append(group)
        at = following
    return groups, start


def _footer(path: Path) -> tuple[int, pa.Schema]:
    """Return a file's rows and those of its columns that count."""
    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            rows: int = file.metadata.num_rows
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{path} is not a readable Parquet file", value=str(error).splitlines()[0]
        ) from error
    columns = known_columns(schema, str(path))
    return rows, pa.schema([pa.field(name, schema.field(name).type) for name in columns])


def _shown(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name}: {field.type}" for field in schema)
