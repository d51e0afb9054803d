"""A job on this machine: threads that read, score and write side by side."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing

import pyarrow as pa

from mmgrec.scoring.scorer import Scored, Scorer
from mmgrec.scoring.shards import OutputFolder
from mmgrec.scoring.source import Piece, Source, Span
from mmgrec.scoring.writer import ShardWriter

AHEAD = 2
"""Pieces per worker that are read before their turn; results that wait for the disk."""


def score_spans(
    scorer: Scorer,
    source: Source,
    output: OutputFolder,
    spans: Iterable[Span],
    *,
    workers: int,
    batch_users: int,
    advance: Callable[[int], object],
) -> None:
    """Score the rows of spans and write their shards.

    ::

        this thread reads pieces and hands them out; workers score them, one native call each;
        one thread writes results in the order of the input
        nobody gets far ahead: memory holds some pieces per worker, whatever the input

    Parameters
    ----------
    scorer, source, output, spans
        Who scores what, and where it goes.
    workers : int
        Threads that score.
    batch_users : int
        Rows of a piece.
    advance : callable
        Gets the number of users of every piece that is done.
    """
    pieces = source.pieces(spans, batch_users)
    schema = scorer.output_schema(source.schema)
    with (
        closing(_Shards(output, schema)) as shards,
        ThreadPoolExecutor(1, "write") as disk,
    ):
        writes: deque[Future[None]] = deque()
        for piece, scored in _scored(scorer, pieces, workers):
            writes.append(disk.submit(shards.add, piece, scored))
            while len(writes) > AHEAD:
                writes.popleft().result()
            advance(scored.users)
        for write in writes:
            write.result()


def _scored(
    scorer: Scorer, pieces: Iterator[Piece], workers: int
) -> Iterator[tuple[Piece, Scored]]:
    """Yield the results of pieces in their order."""
    with ThreadPoolExecutor(workers, "score") as pool:
        waiting: deque[tuple[Piece, Future[Scored]]] = deque()
        try:
            for piece in pieces:
                waiting.append((piece, pool.submit(scorer.score, piece.table, piece.first_row)))
                if len(waiting) > AHEAD * workers:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


class _Shards:
    """Opens a shard with its first piece and closes it with its last."""

    def __init__(self, output: OutputFolder, schema: pa.Schema) -> None:
        self._output, self._schema = output, schema
        self._open: ShardWriter | None = None
        self._failure: BaseException | None = None

    def add(self, piece: Piece, scored: Scored) -> None:
        if self._failure is not None:  # pieces are missing: nothing may be finished any more
            raise self._failure
        try:
            if self._open is None:
                self._open = ShardWriter(self._output, piece.span, self._schema)
            self._open.add(scored)
            if piece.last:
                self._open.close()
                self._open = None
        except BaseException as error:
            self._failure = error
            raise

    def close(self) -> None:
        if self._open is not None:
            self._open.abandon()
            self._open = None
