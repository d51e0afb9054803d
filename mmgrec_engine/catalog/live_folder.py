"""A live catalogue on disk: a folder of kind "catalog" and the journal of its edits.

===================== ==================================================================
file                  contents
===================== ==================================================================
config.json           manifest; its config holds the generation g
trie.bin              the built trie
ids.npy               uint32 ids of its leaves (absent: an item's id is its leaf rank)
payloads.bin          opaque bytes of items, one after the other
payload_spans.npy     int64 ``[m, 2]``: item id and number of bytes, in that order
edits-<g>.log         edits since generation g was built (csrc/live/journal.h)
writer.lock           held with flock by the one process that writes
===================== ==================================================================

A compaction goes from generation g to g + 1. Killed between any two of its system calls, the next
reader opens the folder like this; every acknowledged edit is there each time:

======================================== =====================================================
killed after                             what the next reader finds
======================================== =====================================================
(nothing yet)                            generation g and ``edits-g.log``
trie.bin, ids, payloads staged           the same: a staging folder without a manifest is void
manifest of g + 1 staged                 the same: with a manifest in place staging is not read
``edits-(g+1).log`` begun                the same: the manifest says g; the stray log is removed
``edits-(g+1).log`` durable              the same: edits are held back from here on, so both
                                         logs with their bases give one state
manifest of g removed                    no manifest, a whole staging folder: the reader moves
                                         its files in, manifest last; g + 1, ``edits-(g+1).log``
some files moved in                      the same: the others are still in the staging folder
manifest of g + 1 moved in               generation g + 1; the stray ``edits-g.log`` is removed
``edits-g.log`` removed                  generation g + 1
======================================== =====================================================

Held-back edits wait for the renames only: the large files are staged before. A torn record at the
end of a log is a batch that was never acknowledged, and is cut off.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmgrec_engine import _native
from mmgrec_engine.artifact import (
    MANIFEST,
    Folder,
    Writer,
    folder_exists,
    open_folder,
    remove_stale_staging,
    write_folder,
)
from mmgrec_engine.catalog.edit_arguments import as_codes, ids_in_leaf_order
from mmgrec_engine.catalog.trie import Trie
from mmgrec_engine.errors import ArtifactError

KIND = "catalog"
INSERT, DELETE, REPLACE = range(3)  # as in csrc/live/edit.h
JOURNAL_BYTES = 1 << 20
"""How long the journal of a small catalogue may become before it is built in."""
_READ_ATTEMPTS = 5
_REMEDY = "restore the folder from a copy"


@dataclass(frozen=True)
class Generation:
    """A folder as read: its number and its state after the last whole batch of the journal."""

    number: int
    live: _native.LiveCatalog
    journal: _native.JournalContents
    payloads: dict[int, bytes]


class WriterLock:
    """The right to write to a folder; one process has it at a time, and a killed one loses it."""

    def __init__(self, folder: Path) -> None:
        path = folder / "writer.lock"
        with contextlib.ExitStack() as opened:
            try:
                self._file = opened.enter_context(path.open("ab"))
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ArtifactError(
                    f"{folder} is open for writing already",
                    allowed="one writer at a time",
                    remedy="close it there, or open it with read_only=True",
                ) from None
            except OSError as error:
                raise unwritable(path, error) from error
            opened.pop_all()

    def release(self) -> None:
        """Give the right back; in a forked child let go of it, which leaves it with the parent."""
        self._file.close()


def journal_path(folder: Path, generation: int) -> Path:
    """Return where a generation's journal is."""
    return folder / f"edits-{generation}.log"


def longest_journal(folder: Path) -> int:
    """Return how many bytes of journal are worth a compaction: about what one writes.

    Items that come and go, or change again and again, leave nothing or little pending; but every
    reader reads all of it.
    """
    with contextlib.suppress(OSError):
        return max(JOURNAL_BYTES, (folder / "trie.bin").stat().st_size)
    return JOURNAL_BYTES


def write_generation(
    folder: Path,
    number: int,
    save_trie: Writer,
    ids: NDArray[np.uint32] | None,
    payloads: Mapping[int, bytes],
    *,
    before_commit: Callable[[], None] | None = None,
) -> None:
    """Write everything of a generation but its journal, which has to be there by the commit."""
    spans = np.array([(i, len(b)) for i, b in payloads.items()], np.int64).reshape(-1, 2)
    writers: dict[str, Writer] = {
        "trie.bin": save_trie,
        "payloads.bin": lambda path: _write(path, b"".join(payloads.values())),
        "payload_spans.npy": lambda path: _write_array(path, spans),
    }
    if ids is not None:
        writers["ids.npy"] = lambda path: _write_array(path, ids)
    write_folder(folder, KIND, {"generation": number}, writers, before_commit=before_commit)


def generation_on_disk(folder: Path) -> int | None:
    """Return the generation that a reader would find, or None where it would find none."""
    try:
        return _number(open_folder(folder, KIND, verify=False))
    except ArtifactError:
        return None


def read_generation(folder: Path) -> Generation:
    """Read a folder, anew where a compaction in another process replaced files meanwhile.

    Raises
    ------
    ArtifactError
        A file is missing, damaged or of another version; or they do not fit together.
    """
    for _ in range(_READ_ATTEMPTS - 1):
        with contextlib.suppress(ArtifactError):
            return _read_once(folder)
        time.sleep(0.01)
    return _read_once(folder)


def remove_leftovers(folder: Path, generation: int) -> None:
    """Remove what other generations left; what cannot be removed does no harm. For the writer."""
    remove_stale_staging(folder)
    for path in folder.glob("edits-*.log"):
        if path != journal_path(folder, generation):
            with contextlib.suppress(OSError):
                path.unlink()


def _read_once(folder: Path) -> Generation:
    opened = open_folder(folder, KIND)
    number = _number(opened)
    ids = np.zeros(0, np.uint32)
    if "ids.npy" in opened.files:
        ids = _read_array(opened.file("ids.npy")).astype(np.uint32)
    try:
        live = _native.LiveCatalog.open(str(opened.file("trie.bin")), ids)
        journal = _native.JournalContents.read(str(journal_path(folder, number)))
        payloads = _read_payloads(opened)
    except (_native.DamagedFile, OSError, ValueError) as error:
        raise ArtifactError(f"{folder} cannot be opened", value=error, remedy=_REMEDY) from error
    # The manifest of a generation is removed before any of its files is replaced, so all of them
    # were of this one.
    if generation_on_disk(folder) != number:
        raise ArtifactError(f"{folder} changed while it was read", remedy="open it again")
    if journal.generation != number or journal.level_sizes != live.snapshot().level_sizes:
        raise _do_not_fit(folder)
    try:
        live.publish(live.prepare_replay(journal))
    except _native.EditError as error:
        raise _do_not_fit(folder) from error
    for batch in journal.batches:
        keep_payloads(payloads, batch.kinds, batch.ids, batch.payloads)
    return Generation(number, live, journal, payloads)


def keep_payloads(
    payloads: dict[int, bytes],
    kinds: NDArray[np.uint8],
    ids: NDArray[np.uint32],
    given: Sequence[bytes],
) -> None:
    """Make a batch's changes to the payloads of items; an empty payload is none."""
    if not given and not payloads:
        return
    for kind, item, payload in zip(
        kinds.tolist(), ids.tolist(), given or [b""] * len(ids), strict=True
    ):
        if kind == DELETE:
            payloads.pop(item, None)
        elif payload:
            payloads[item] = payload


def _do_not_fit(folder: Path) -> ArtifactError:
    return ArtifactError(f"{folder}: journal and trie do not fit together", remedy=_REMEDY)


def _number(opened: Folder) -> int:
    number = opened.config.get("generation")
    if not isinstance(number, int) or number < 0:
        raise ArtifactError(
            f"{opened.path}: its config has no generation",
            value=repr(number),
            allowed="a whole number",
            remedy=_REMEDY,
        )
    return number


def _read_payloads(opened: Folder) -> dict[int, bytes]:
    content = opened.file("payloads.bin").read_bytes()
    spans = _read_array(opened.file("payload_spans.npy")).tolist()
    payloads = {}
    at = 0
    for item, size in spans:
        payloads[item] = content[at : at + size]
        at += size
    return payloads


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _write_array(path: Path, array: NDArray[Any]) -> None:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    with path.open("wb") as stream:
        stream.write(buffer.getbuffer())


def _read_array(path: Path) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ArtifactError(f"{path} is not readable", value=error, remedy=_REMEDY) from error
    return array


def create_folder(
    folder: Path,
    codes: NDArray[np.integer],
    level_sizes: Sequence[int],
    ids: NDArray[np.integer] | Sequence[int] | None,
) -> None:
    """Write generation 0 of a new catalogue: its journal first, as ever."""
    trie, order = Trie.build(as_codes(codes, len(level_sizes)), level_sizes)
    leaf_ids = ids_in_leaf_order(ids, order)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = WriterLock(folder)
        try:
            _check_is_free(folder)
            _native.Journal.create(str(journal_path(folder, 0)), list(level_sizes))
            write_generation(folder, 0, trie.save, leaf_ids, {})
        finally:
            lock.release()
    except OSError as error:
        raise unwritable(folder, error) from error


def _check_is_free(folder: Path) -> None:
    # Asking for the kind finishes a killed write first.
    if folder_exists(folder, KIND) or (folder / MANIFEST).exists():
        raise ArtifactError(
            f"{folder} is in use", remedy="open it with LiveCatalog.open, or choose another folder"
        )


def unwritable(path: Path, error: OSError) -> ArtifactError:
    """Return the error for something that could not be written."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    return ArtifactError(
        f"cannot write {path}: {reason}",
        value=error,
        remedy="free some space or choose another disk; nothing of this edit was made",
    )
