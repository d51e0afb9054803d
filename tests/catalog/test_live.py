"""The live catalogue against a dictionary {Rec-ID: item id}: edits, compactions, reopenings."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from live_script import model_of

from mmgrec_engine.catalog import live_folder
from mmgrec_engine.catalog.live import LiveCatalog
from mmgrec_engine.errors import ArtifactError, ConfigError, DataError, EditError

SIZES = [3, 300, 2]
ROW = st.tuples(*(st.integers(0, min(size, 6) - 1) for size in SIZES))
CODES = np.array([[2, 7, 0], [0, 1, 1], [1, 299, 0]])


class Editing(RuleBasedStateMachine):
    """Any sequence of calls leaves what the dictionary says, after reopening too."""

    def __init__(self) -> None:
        super().__init__()
        self.root = tempfile.TemporaryDirectory()
        self.model = {(0, 1, 0): 5, (2, 3, 1): 6}
        self.payloads: dict[int, bytes] = {}
        codes, ids = np.array(list(self.model)), list(self.model.values())
        self.catalog = LiveCatalog.create(self.folder, codes, SIZES, ids)
        self.next_id = 100
        self.old = [(self.catalog.snapshot(), dict(self.model))]

    @property
    def folder(self) -> Path:
        return Path(self.root.name) / "catalog"

    @rule(row=ROW, payload=st.binary(max_size=3))
    def insert(self, row: tuple[int, ...], payload: bytes) -> None:
        if row in self.model:
            with pytest.raises(EditError, match="is taken"):
                self.catalog.insert(np.array([row]), [self.next_id])
            return
        self.catalog.insert(np.array([row]), [self.next_id], [payload])
        self.model[row] = self.next_id
        if payload:
            self.payloads[self.next_id] = payload
        self.next_id += 1

    @rule(rows=st.lists(ROW, unique=True, max_size=4))
    def delete(self, rows: list[tuple[int, ...]]) -> None:
        codes = np.array(rows, dtype=np.int64).reshape(-1, len(SIZES))
        if all(row in self.model for row in rows):
            expected = [self.model.pop(row) for row in rows]
            assert self.catalog.delete(codes).tolist() == expected
            for item in expected:
                self.payloads.pop(item, None)
        else:
            with pytest.raises(EditError, match="no item has this Rec-ID"):
                self.catalog.delete(codes)

    @precondition(lambda self: self.model)
    @rule(data=st.data(), new=ROW)
    def replace(self, data: st.DataObject, new: tuple[int, ...]) -> None:
        old = data.draw(st.sampled_from(sorted(self.model)))
        if new in self.model and new != old:
            with pytest.raises(EditError, match="is taken"):
                self.catalog.replace(np.array([old]), np.array([new]))
        else:
            self.catalog.replace(np.array([old]), np.array([new]))
            self.model[new] = self.model.pop(old)

    @rule(background=st.booleans())
    def compact(self, background: bool) -> None:
        self.catalog.compact(background=background)

    @rule()
    def reopen(self) -> None:
        self.catalog.close()
        self.catalog = LiveCatalog.open(self.folder, compact_after=4)

    @rule()
    def keep_a_snapshot(self) -> None:
        self.old.append((self.catalog.snapshot(), dict(self.model)))

    @invariant()
    def equals_the_model(self) -> None:
        assert list(model_of(self.catalog).items()) == sorted(self.model.items())
        assert self.catalog.payloads == self.payloads
        assert self.catalog.compaction_error is None
        snapshot = self.catalog.snapshot()
        found = snapshot.lookup_ids(snapshot.ids())
        assert np.array_equal(found, snapshot.leaves())
        assert np.array_equal(snapshot.lookup(snapshot.codes()), found)

    def teardown(self) -> None:
        for snapshot, model in self.old:
            rows = map(tuple, snapshot.codes().tolist())
            assert list(zip(rows, snapshot.ids().tolist(), strict=True)) == sorted(model.items())
        self.catalog.close()
        self.root.cleanup()


Editing.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
test_any_calls_against_a_dictionary = Editing.TestCase


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """A stand-in for a full disk: no file may grow beyond ``size`` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_ids_default_to_row_numbers(tmp_path: Path) -> None:
    with LiveCatalog.create(tmp_path / "a", CODES, SIZES) as catalog:
        assert catalog.snapshot().ids().tolist() == [1, 2, 0]
    with LiveCatalog.create(tmp_path / "b", CODES[[1, 2, 0]], SIZES) as catalog:
        assert catalog.snapshot().ids().tolist() == [0, 1, 2]
        assert not (tmp_path / "b" / "ids.npy").exists()
        catalog.delete(CODES[[1]])
        catalog.compact(background=False)
        assert catalog.snapshot().ids().tolist() == [1, 2]
        assert catalog.snapshot().pending == 0
    with LiveCatalog.create(tmp_path / "c", CODES[:0], SIZES) as catalog:
        assert catalog.insert(CODES, [7, 8, 9]).tolist() == [7, 8, 9]


def test_a_batch_is_made_together_or_not_at_all(tmp_path: Path) -> None:
    with LiveCatalog.create(tmp_path / "c", CODES, SIZES) as catalog:
        before, size = model_of(catalog), (tmp_path / "c" / "edits-0.log").stat().st_size
        with pytest.raises(EditError, match=r"edit 1: the Rec-ID of item 9 at \(0, 1, 1\)") as info:
            catalog.insert(np.array([[0, 0, 0], [0, 1, 1]]), [8, 9])
        assert "item 1 is there" in str(info.value)
        assert info.value.remedy is not None
        with pytest.raises(EditError, match=r"id of item 2 at .* is taken"):
            catalog.insert(np.array([[0, 0, 0]]), [2])
        with pytest.raises(EditError, match="level 1 is out of range"):
            catalog.insert(np.array([[0, 2**40, 0]]), [9])
        with pytest.raises(EditError, match="no Rec-IDs"):
            catalog.delete(np.array([[0.5, 0, 0]]))
        with pytest.raises(EditError, match="no item ids"):
            catalog.insert(np.array([[0, 0, 0]]), [2**32])
        with pytest.raises(EditError, match="differ in number"):
            catalog.replace(CODES[:1], CODES[:2])
        assert model_of(catalog) == before
        assert (tmp_path / "c" / "edits-0.log").stat().st_size == size
        assert catalog.sequence == 0


def test_additions_beyond_the_limit_are_compacted(tmp_path: Path) -> None:
    with LiveCatalog.create(tmp_path / "c", CODES, SIZES, compact_after=3) as catalog:
        for i in range(20):
            catalog.insert(np.array([[0, 20 + i, 0]]), [100 + i])
    with LiveCatalog.open(tmp_path / "c") as catalog:
        assert catalog.snapshot().num_items == 23
        assert not (tmp_path / "c" / "edits-0.log").exists()
    with pytest.raises(ConfigError, match="compact_after"):
        LiveCatalog.open(tmp_path / "c", compact_after=0)


def test_a_long_journal_is_compacted_however_little_is_pending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_folder, "JOURNAL_BYTES", 3_000)
    comes_and_goes = np.array([[0, 20, 0]])
    with LiveCatalog.create(tmp_path / "c", CODES, SIZES) as catalog:
        before = model_of(catalog)
        for _ in range(40):
            catalog.insert(comes_and_goes, [100])
            catalog.delete(comes_and_goes)
    (journal,) = (tmp_path / "c").glob("edits-*.log")
    assert journal.name != "edits-0.log"
    assert journal.stat().st_size < 3_000
    with LiveCatalog.open(tmp_path / "c", read_only=True) as catalog:
        assert model_of(catalog) == before
        assert catalog.sequence == 80


def test_one_writer_and_any_readers(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    with LiveCatalog.create(folder, CODES, SIZES) as catalog:
        with pytest.raises(ArtifactError, match="open for writing already"):
            LiveCatalog.open(folder)
        catalog.insert(np.array([[0, 0, 0]]), [9])
        reader = LiveCatalog.open(folder, read_only=True)
        assert model_of(reader) == model_of(catalog)
        with pytest.raises(ArtifactError, match="opened read-only"):
            reader.delete(CODES)
        reader.close()
    with pytest.raises(ArtifactError, match="it is closed"):
        catalog.delete(CODES)
    assert catalog.snapshot().num_items == 4
    with pytest.raises(ArtifactError, match="in use"):
        LiveCatalog.create(folder, CODES, SIZES)
    with pytest.raises(ArtifactError, match="not a folder"):
        LiveCatalog.open(tmp_path / "none")
    with pytest.raises(DataError, match="same Rec-ID"):
        LiveCatalog.create(tmp_path / "d", CODES[[0, 0]], SIZES)
    with pytest.raises(EditError, match="two items have one id"):
        LiveCatalog.create(tmp_path / "d", CODES, SIZES, [1, 2, 1])


def test_a_folder_that_cannot_be_written_is_read_and_not_edited(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    LiveCatalog.create(folder, CODES, SIZES).close()
    # Stands for a read-only disk, which root could write to.
    (folder / "writer.lock").unlink()
    (folder / "writer.lock").mkdir()
    with pytest.raises(ArtifactError, match=r"cannot write .*writer\.lock"):
        LiveCatalog.open(folder)
    assert LiveCatalog.open(folder, read_only=True).snapshot().num_items == 3


def test_readers_in_other_processes_may_open_at_any_time(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    stop = threading.Event()
    seen: list[int] = []

    def read() -> None:
        while not stop.is_set():
            seen.append(LiveCatalog.open(folder, read_only=True).snapshot().num_items)

    with LiveCatalog.create(folder, CODES, SIZES) as catalog:
        reader = threading.Thread(target=read)
        reader.start()
        for i in range(60):
            catalog.insert(np.array([[1, 10 + i, 0]]), [100 + i])
            catalog.compact(background=False)
        stop.set()
        reader.join()
    assert seen == sorted(seen)
    assert 3 <= seen[0] <= seen[-1] <= 63


def test_a_forked_child_reads_and_does_not_edit(tmp_path: Path) -> None:
    script = f"""
import os, numpy as np
from mmgrec_engine.catalog.live import LiveCatalog
from mmgrec_engine.errors import ArtifactError
catalog = LiveCatalog.open({str(tmp_path / "c")!r}, compact_after=1)
row = np.array([[0, 0, 0]])
for i in range(40):  # compactions go on meanwhile
    catalog.insert(row, [9 + i])
    child = os.fork()
    if child == 0:
        assert catalog.snapshot().num_items == 4
        try:
            catalog.delete(row)
        except ArtifactError as error:
            assert "belongs to the process" in str(error)
            catalog.close()
            os._exit(0)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    catalog.delete(row)
# No close: leaving waits for a running compaction, and does not hang.
"""
    LiveCatalog.create(tmp_path / "c", CODES, SIZES).close()
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
    with LiveCatalog.open(tmp_path / "c") as catalog:
        assert catalog.snapshot().num_items == 3
        assert catalog.sequence == 80


def test_a_full_disk_is_an_error_and_no_end(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    log = folder / "edits-0.log"
    with LiveCatalog.create(folder, CODES, SIZES) as catalog:
        before = model_of(catalog)
        size = log.stat().st_size
        with file_size_limit(size + 40), pytest.raises(ArtifactError, match="too large"):
            catalog.insert(np.array([[0, 0, 0]]), [9], [b"x" * 100])
        assert log.stat().st_size == size
        assert model_of(catalog) == before
        catalog.insert(np.array([[0, 0, 0]]), [9])
        with file_size_limit(64), pytest.raises(ArtifactError, match="too large"):
            catalog.compact(background=False)
        catalog.insert(np.array([[0, 0, 1]]), [10])  # goes on with the old generation
        assert not list(folder.glob(".staging-*"))
        state = model_of(catalog)
        with file_size_limit(64):
            catalog.compact()
            catalog._thread.join()  # type: ignore[union-attr]
        assert isinstance(catalog.compaction_error, ArtifactError)
        catalog.compact(background=False)
        assert catalog.compaction_error is None
    with LiveCatalog.open(folder) as catalog:
        assert model_of(catalog) == state


def test_a_commit_that_fails_half_way_is_finished_by_the_next_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = LiveCatalog.create(tmp_path / "c", CODES, SIZES)
    catalog.delete(CODES[:1])
    state = model_of(catalog)
    replace = os.replace

    def broken(source: Path, target: Path) -> None:
        if Path(target).name == "trie.bin":
            raise OSError(5, "Input/output error")
        replace(source, target)

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(ArtifactError, match="Input/output"):
        catalog.compact(background=False)
    with pytest.raises(ArtifactError, match="stopped half-way"):
        catalog.delete(CODES[1:2])
    catalog.close()
    monkeypatch.undo()
    with LiveCatalog.open(tmp_path / "c") as catalog:
        assert model_of(catalog) == state


def test_edits_wait_for_the_commit_and_are_in_the_next_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = LiveCatalog.create(tmp_path / "c", CODES, SIZES)
    replace = os.replace
    threads: list[threading.Thread] = []

    def edit_meanwhile(source: Path, target: Path) -> None:
        if Path(target).parent == tmp_path / "c":
            row = np.array([[0, 50 + len(threads), 0]])
            threads.append(threading.Thread(target=catalog.insert, args=(row, [50 + len(threads)])))
            threads[-1].start()
            threads[-1].join(0.05)
            assert threads[-1].is_alive()
        replace(source, target)

    monkeypatch.setattr(os, "replace", edit_meanwhile)
    catalog.insert(np.array([[0, 40, 0]]), [40])
    catalog.compact(background=False)
    for thread in threads:
        thread.join()
    state = model_of(catalog)
    assert len(threads) == 5
    assert len(state) == 3 + 1 + 5
    catalog.close()
    monkeypatch.undo()
    with LiveCatalog.open(tmp_path / "c") as catalog:
        assert model_of(catalog) == state


def test_edits_during_the_build_go_to_the_next_generation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = LiveCatalog.create(tmp_path / "c", CODES, SIZES)
    catalog.insert(np.array([[0, 40, 0]]), [40], [b"before"])
    write = Path.write_bytes

    def edit_then_write(path: Path, content: bytes) -> int:
        if path.name == "payloads.bin":
            catalog.delete(np.array([[0, 40, 0]]))
            catalog.insert(np.array([[0, 41, 0], [0, 42, 0]]), [41, 40], [b"", b"after"])
            catalog.replace(CODES[:1], np.array([[0, 40, 0]]))
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", edit_then_write)
    catalog.compact(background=False)
    monkeypatch.undo()
    state = model_of(catalog)
    assert (0, 40, 0) in state
    assert catalog.snapshot().pending == 5
    catalog.close()
    with LiveCatalog.open(tmp_path / "c") as catalog:
        assert model_of(catalog) == state
        assert catalog.sequence == 4
        assert catalog.payloads == {40: b"after"}


def test_an_interrupted_edit_is_there_after_reopening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = LiveCatalog.create(tmp_path / "c", CODES, SIZES)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mmgrec_engine.catalog.live.keep_payloads", interrupt)
    with pytest.raises(KeyboardInterrupt):
        catalog.insert(np.array([[0, 0, 0]]), [9], [b"x"])
    monkeypatch.undo()
    for edit in (lambda: catalog.delete(CODES[:1]), lambda: catalog.compact(background=False)):
        with pytest.raises(ArtifactError, match="an edit was interrupted"):
            edit()
    catalog.close()
    with LiveCatalog.open(tmp_path / "c") as catalog:
        assert catalog.payloads == {9: b"x"}
        assert catalog.snapshot().num_items == 4
        catalog.delete(CODES[:1])


def test_damaged_folders_are_errors(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    with LiveCatalog.create(folder, CODES, SIZES) as catalog:
        catalog.delete(CODES[:1])
        catalog.delete(CODES[1:2])
    log = folder / "edits-0.log"
    whole = log.read_bytes()
    log.write_bytes(whole[:90] + b"?" + whole[91:])
    with pytest.raises(ArtifactError, match="is damaged, and valid ones follow"):
        LiveCatalog.open(folder)
    log.write_bytes(whole[:-1])  # torn by a crash
    with LiveCatalog.open(folder) as catalog:
        assert catalog.sequence == 1
        assert log.stat().st_size < len(whole) - 1
    log.unlink()
    with pytest.raises(ArtifactError, match="No such file"):
        LiveCatalog.open(folder)
