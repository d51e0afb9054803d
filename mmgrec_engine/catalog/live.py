"""The live catalogue: insert, delete, replace while others search; acknowledged means durable."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType

import numpy as np
from numpy.typing import NDArray

from mmgrec_engine import _native
from mmgrec_engine.catalog.edit_arguments import (
    as_codes,
    as_ids,
    as_payloads,
    check_same_number,
)
from mmgrec_engine.catalog.live_folder import (
    DELETE,
    INSERT,
    REPLACE,
    WriterLock,
    create_folder,
    generation_on_disk,
    journal_path,
    keep_payloads,
    longest_journal,
    read_generation,
    remove_leftovers,
    unwritable,
    write_generation,
)
from mmgrec_engine.catalog.snapshot import Snapshot
from mmgrec_engine.errors import ArtifactError, ConfigError
from mmgrec_engine.native_errors import raise_edit_error

_LOG = logging.getLogger(__name__)
_OPEN: weakref.WeakSet[LiveCatalog] = weakref.WeakSet()


class LiveCatalog:
    """A folder of items that can be edited while snapshots of it are searched.

    ::

        edit:     check against the newest state -> append to the journal, fdatasync -> swap
        snapshot: one pointer; what a reader holds never changes, and no reader waits
        compact:  build a trie of all items meanwhile; new journal, new manifest, swap

    Edits of one call are made together or not at all, and are durable when the call returns. Calls
    may come from any thread; one process at a time can write (`read_only` opens are free). A
    background compaction is an ordinary thread: interpreter exit and `close` wait for its end. In a
    forked child snapshots go on working and edits are refused.

    Build with `create` or `open`; ``compact_after`` is the number of pending additions and removals
    beyond which a background compaction starts, by default max(1024, N / 64). A journal longer than
    `longest_journal` starts one as well.
    """

    def __init__(self, folder: Path, *, read_only: bool, compact_after: int | None) -> None:
        if compact_after is not None and compact_after < 1:
            raise ConfigError("compact_after", value=compact_after, allowed="at least 1, or None")
        self.folder = folder
        self._compact_after = compact_after
        self._lock = threading.RLock()  # of everything that edits change
        self._turn = threading.Lock()  # of the one compaction
        self._thread: threading.Thread | None = None
        self._failed_at = 0.0  # `_backlog` when a background compaction last failed
        self._refusal: tuple[str, str] | None = None
        self.compaction_error: Exception | None = None
        self._journal: _native.Journal | None = None
        self._writer = None if read_only else WriterLock(folder)
        try:
            self._load(read_only)
        except BaseException:
            self._release()
            raise
        _OPEN.add(self)

    @classmethod
    def create(
        cls,
        folder: str | Path,
        codes: NDArray[np.integer],
        level_sizes: Sequence[int],
        ids: NDArray[np.integer] | Sequence[int] | None = None,
        *,
        compact_after: int | None = None,
    ) -> LiveCatalog:
        """Make a catalogue of Rec-IDs ``[N, T]`` and open it for writing.

        Parameters
        ----------
        folder : path
            Where; made when missing, and must not hold a catalogue.
        codes : array
            ``[N, T]`` unique tuples in any order; N may be 0.
        level_sizes : sequence of int
            Tokens per level.
        ids : array, optional
            ``[N]`` unique numbers below 2^32, by default the row numbers.
        compact_after : int, optional
            See the class.

        Raises
        ------
        ArtifactError
            The folder holds a catalogue, or cannot be written.
        DataError, EditError
            Tuples or ids are out of range or not unique.
        """
        path = Path(folder)
        create_folder(path, codes, level_sizes, ids)
        return cls(path, read_only=False, compact_after=compact_after)

    @classmethod
    def open(
        cls, folder: str | Path, *, read_only: bool = False, compact_after: int | None = None
    ) -> LiveCatalog:
        """Open a catalogue as it was after the last acknowledged edit.

        A read-only catalogue shows the state of this moment; open it again for a later one.

        Raises
        ------
        ArtifactError
            No catalogue, a damaged one, or one that is open for writing already.
        """
        path = Path(folder)
        if not path.is_dir():
            raise ArtifactError(f"{path} is not a folder", remedy="check the path")
        return cls(path, read_only=read_only, compact_after=compact_after)

    def snapshot(self) -> Snapshot:
        """Return the newest state."""
        return Snapshot(self._native.snapshot())

    @property
    def sequence(self) -> int:
        """Number of the last acknowledged batch of edits; it only ever grows."""
        return self._sequence

    @property
    def payloads(self) -> Mapping[int, bytes]:
        """The payloads of the items that have one, by item id (a view of the newest state)."""
        return MappingProxyType(self._payloads)

    def insert(
        self,
        codes: NDArray[np.integer],
        ids: NDArray[np.integer] | Sequence[int],
        payloads: Sequence[bytes] | None = None,
    ) -> NDArray[np.uint32]:
        """Add items with Rec-IDs ``[n, T]`` and ids ``[n]``; return the ids.

        Raises
        ------
        EditError
            A Rec-ID or an id is taken, or a token is out of range.
        ArtifactError
            The journal cannot be written (disk full), or the catalogue is not open for writing.
        """
        return self._edit(INSERT, codes, None, as_ids(ids), payloads)

    def delete(self, codes: NDArray[np.integer]) -> NDArray[np.uint32]:
        """Remove the items with Rec-IDs ``[n, T]``; return their ids. Errors as of `insert`."""
        return self._edit(DELETE, codes, None, None, None)

    def replace(
        self,
        old: NDArray[np.integer],
        new: NDArray[np.integer],
        payloads: Sequence[bytes] | None = None,
    ) -> NDArray[np.uint32]:
        """Give the items with Rec-IDs ``old`` ``[n, T]`` the Rec-IDs ``new``, one after the other.

        Items keep their ids, which are returned, and their payloads where none is given. Errors as
        of `insert`.
        """
        return self._edit(REPLACE, new, old, None, payloads)

    def compact(self, *, background: bool = True) -> None:
        """Build all edits into a new base; readers and edits go on meanwhile.

        In the background one that is running is enough, and a failure is logged and kept in
        ``compaction_error``. In the foreground it raises, and the old state stays in use.

        Raises
        ------
        ArtifactError
            The folder cannot be written, or the catalogue is not open for writing.
        """
        with self._lock:
            self._check_writable()
            if background and (self._thread is None or not self._thread.is_alive()):
                self._thread = threading.Thread(
                    target=self._compact_in_background, name="mmgrec-compaction"
                )
                self._thread.start()
        if not background:
            self._compact_once()

    def close(self) -> None:
        """Wait for a running compaction and give up the right to write; snapshots stay valid."""
        with self._lock:
            if self._refusal is None:
                self._refusal = ("it is closed", "open it again")
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        with self._turn:
            self._journal = None
            self._release()

    def __enter__(self) -> LiveCatalog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _load(self, read_only: bool) -> None:
        generation = read_generation(self.folder)
        contents = generation.journal
        self._native = generation.live
        self._payloads = generation.payloads
        self._sequence: int = contents.sequence
        if read_only:
            self._refusal = ("it was opened read-only", "open it without read_only")
            return
        path = journal_path(self.folder, generation.number)
        if contents.cut_bytes:
            _LOG.warning(
                "%s: cut off %d bytes of a batch that was never acknowledged",
                path,
                contents.cut_bytes,
            )
        try:
            self._journal = _native.Journal.open(str(path), contents)
        except OSError as error:
            raise unwritable(path, error) from error
        remove_leftovers(self.folder, generation.number)

    def _edit(
        self,
        kind: int,
        codes: NDArray[np.integer],
        old: NDArray[np.integer] | None,
        ids: NDArray[np.uint32] | None,
        payloads: Sequence[bytes] | None,
    ) -> NDArray[np.uint32]:
        sizes: list[int] = self._native.snapshot().level_sizes
        rows = as_codes(codes, len(sizes))
        old_rows = rows[:0] if old is None else as_codes(old, len(sizes))
        if old is not None:
            check_same_number("old and new Rec-IDs", old_rows, rows)
        if ids is not None:
            check_same_number("Rec-IDs and ids", rows, ids)
        given = as_payloads(payloads, len(rows))
        no_ids = np.zeros(0, np.uint32)
        try:
            batch = _native.EditBatch.make(
                kind, rows, old_rows, no_ids if ids is None else ids, given, sizes
            )
            with self._lock:
                done = self._make_durable(batch, given) if len(rows) else no_ids
        except _native.EditError as error:
            raise_edit_error(error)
        self._compact_if_due()
        return done

    def _make_durable(
        self, batch: _native.EditBatch, payloads: Sequence[bytes]
    ) -> NDArray[np.uint32]:
        journal = self._check_writable()
        prepared = self._native.prepare(batch)
        ids: NDArray[np.uint32] = prepared.ids
        # Stopped between the journal and the last line (Ctrl-C), memory would lag behind the disk;
        # until then nothing else may be edited.
        self._journal, self._refusal = None, ("an edit was interrupted", "open it again")
        try:
            sequence = journal.append(prepared, batch)
        except OSError as error:
            self._journal, self._refusal = journal, None
            raise unwritable(journal_path(self.folder, journal.generation), error) from error
        self._native.publish(prepared)
        keep_payloads(self._payloads, batch.kinds, ids, payloads)
        self._sequence, self._journal, self._refusal = sequence, journal, None
        return ids

    def _check_writable(self) -> _native.Journal:
        if self._refusal is not None or self._journal is None:
            reason, remedy = self._refusal or ("it is closed", "open it again")
            raise ArtifactError(f"{self.folder} cannot be edited: {reason}", remedy=remedy)
        return self._journal

    def _compact_if_due(self) -> None:
        if self._is_due():
            # It may have been closed since the edit, which is done in any case.
            with contextlib.suppress(ArtifactError):
                self.compact()

    def _is_due(self) -> bool:
        # After a failure (disk full) not at every edit again.
        return self._backlog() > max(1.0, 2 * self._failed_at)

    def _backlog(self) -> float:
        """Return how much there is to build in; beyond 1 it is due."""
        with self._lock:  # no append and no commit is under way
            long = self._journal.bytes / longest_journal(self.folder) if self._journal else 0.0
        snapshot = self.snapshot()
        limit = self._compact_after or max(1024, snapshot.num_items // 64)
        return max(snapshot.pending / limit, long)

    def _compact_in_background(self) -> None:
        try:
            self._compact_once()
            while self._refusal is None and self._is_due():
                self._compact_once()
        except Exception as error:
            self.compaction_error = error
            self._failed_at = self._backlog()
            _LOG.warning("%s: the compaction failed: %s", self.folder, error)

    def _compact_once(self) -> None:
        with self._turn, contextlib.ExitStack() as held:
            with self._lock:
                # Closing refuses new edits, but waits for a compaction that was asked for.
                journal = self._journal or self._check_writable()
                payloads, after = dict(self._payloads), self._sequence
                job = self._native.begin_compaction()
            number = journal.generation + 1
            path = journal_path(self.folder, number)
            sealed: list[tuple[_native.Prepared, _native.Journal]] = []

            def seal() -> None:
                held.enter_context(self._lock)  # no edits until the new state is in place
                prepared = self._native.prepare_compacted(job)
                sealed.append((prepared, journal.continued(str(path), after)))

            try:
                job.run()
                write_generation(
                    self.folder,
                    number,
                    lambda file: job.save_trie(str(file)),
                    job.ids(),
                    payloads,
                    before_commit=seal,
                )
            finally:
                held.enter_context(self._lock)
                self._settle(number, sealed)

    def _settle(self, number: int, sealed: list[tuple[_native.Prepared, _native.Journal]]) -> None:
        """Go on with what is on disk, whether the compaction's write ended well or not."""
        found = generation_on_disk(self.folder)
        if found == number and sealed:
            prepared, journal = sealed[0]
            self._journal = journal
            self._native.publish(prepared)
            self._failed_at, self.compaction_error = 0.0, None
            remove_leftovers(self.folder, number)
            return
        self._native.abandon_compaction()
        if found == number - 1:
            remove_leftovers(self.folder, number - 1)
        else:
            self._refusal = ("a compaction stopped half-way", "open it again, which finishes it")
            self._journal = None

    def _release(self) -> None:
        if self._writer is not None:
            self._writer.release()
            self._writer = None

    def _disown(self) -> None:
        """In a forked child: other threads are gone, and with them what their locks guarded."""
        self._lock, self._turn = threading.RLock(), threading.Lock()
        self._refusal = ("it belongs to the process that opened it", "edit it there")
        self._thread = self._journal = None
        self._release()


def _disown_all() -> None:
    for catalog in list(_OPEN):
        catalog._disown()


os.register_at_fork(after_in_child=_disown_all)
