"""Named filters on disk: one JSON file each, so that all workers and later starts have them."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Hashable, Sequence
from pathlib import Path

from mmgrec_engine.artifact import write_file
from mmgrec_engine.engine import Engine
from mmgrec_engine.errors import ArtifactError, MMGRecError
from mmgrec_engine.writers import write_bytes

_LOG = logging.getLogger("mmgrec.serving.filters")
Stamp = tuple[int, int, int]


class FilterStore:
    """A folder of filters, and which of its files the current engine was given.

    ::

        NAME.json: {"ids": [...]}, replaced by renaming
        set, remove: in the engine, which refuses what is wrong, then on disk; where the disk
            refuses, the engine gets back what is there
        apply: what changed on disk, and filters whose items have become known since
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._applied: dict[str, Stamp | None] = {}  # None: not as on disk
        self._unknown: dict[str, list[Hashable]] = {}

    def stamps(self) -> dict[str, Stamp]:
        """Return for every filter what changes when its file does; `OSError` as of the disk."""
        found: dict[str, Stamp] = {}
        try:
            files = os.listdir(self._folder)
        except FileNotFoundError:
            return found
        for file in files:
            name, _, rest = file.partition(".")
            if name and rest == "json":
                # One that another process removes meanwhile is gone; the others are not.
                with contextlib.suppress(FileNotFoundError):
                    stat = self._path(name).stat()
                    found[name] = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        return found

    def set(self, engine: Engine, name: str, ids: Sequence[Hashable]) -> None:
        """Give an engine a filter and keep it.

        Raises
        ------
        RequestError
            As of `Engine.set_filter`.
        ArtifactError
            The folder cannot be written.
        """
        engine.set_filter(name, ids)
        try:
            write_file(self._path(name), write_bytes(json.dumps({"ids": list(ids)}).encode()))
        except ArtifactError:
            self._give_back(engine, name)
            raise

    def remove(self, engine: Engine, name: str) -> None:
        """Take a filter from an engine and forget it.

        Raises
        ------
        RequestError
            The engine has none of this name.
        ArtifactError
            The file cannot be removed.
        """
        engine.remove_filter(name)
        try:
            self._path(name).unlink(missing_ok=True)
        except OSError as error:
            self._give_back(engine, name)
            raise ArtifactError(
                f"{self._path(name)} cannot be removed",
                value=error,
                remedy="change the permissions of its folder",
            ) from error

    def apply(self, engine: Engine, *, everything: bool = False) -> None:
        """Give an engine what changed since the last time, or everything.

        Items that the engine does not know are left out until it does.

        Raises
        ------
        ArtifactError
            The folder cannot be read, of everything; changes are logged and come later.
        """
        try:
            now = self.stamps()
        except OSError as error:
            if everything:
                raise ArtifactError(
                    f"{self._folder} cannot be read", value=error, remedy="change its permissions"
                ) from error
            _LOG.error("filters cannot be read", extra={"reason": str(error)})
            return
        if everything:
            self._applied, self._unknown = {}, {}
        for name, stamp in now.items():
            if self._applied.get(name) != stamp or self._knows_more(engine, name):
                self._read(engine, name)
        for name in self._applied.keys() - now.keys():
            self._unknown.pop(name, None)
            if name in engine.filter_names():
                engine.remove_filter(name)
        self._applied = dict(now)

    def _read(self, engine: Engine, name: str) -> None:
        self._unknown.pop(name, None)
        try:
            ids = json.loads(self._path(name).read_text(encoding="utf-8"))["ids"]
            if not all(isinstance(each, int | str) for each in ids):
                raise TypeError("an id is neither a number nor a text")
            known = engine.item_ids.rows_or_missing(ids) >= 0
            engine.set_filter(name, [ids[i] for i in known.nonzero()[0]])
        except (OSError, ValueError, KeyError, TypeError, MMGRecError) as error:
            _LOG.error("a filter cannot be used", extra={"filter": name, "reason": str(error)})
        else:
            if not known.all():
                self._unknown[name] = [ids[i] for i in (~known).nonzero()[0]]
                missing = len(self._unknown[name])
                _LOG.warning("a filter names unknown items", extra={"filter": name, "n": missing})

    def _knows_more(self, engine: Engine, name: str) -> bool:
        unknown = self._unknown.get(name, [])
        return bool((engine.item_ids.rows_or_missing(unknown) >= 0).any())

    def _give_back(self, engine: Engine, name: str) -> None:
        self._applied[name] = None
        self.apply(engine)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.json"
