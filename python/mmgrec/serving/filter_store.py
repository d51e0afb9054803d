"""Named filters on disk: one JSON file each, so that all workers and later starts have them."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Hashable, Sequence
from pathlib import Path

from mmgrec_engine.artifact import write_file
from mmgrec_engine.engine import Engine
from mmgrec_engine.errors import MMGRecError
from mmgrec_engine.writers import write_bytes

_LOG = logging.getLogger("mmgrec.serving.filters")
Stamp = tuple[int, int, int]


class FilterStore:
    """A folder of filters, and which of its files the current engine was given.

    ::

        NAME.json: {"ids": [...]}, replaced by renaming
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._applied: dict[str, Stamp] = {}

    def stamps(self) -> dict[str, Stamp]:
        """Return for every filter what changes when its file does."""
        found = {}
        try:
            for entry in os.scandir(self._folder):
                name, dot, rest = entry.name.partition(".")
                if dot and rest == "json":
                    stat = entry.stat()
                    found[name] = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        except FileNotFoundError:
            pass
        return found

    def write(self, name: str, ids: Sequence[Hashable]) -> None:
        """Keep a filter; `ArtifactError` where the folder cannot be written."""
        write_file(self._path(name), write_bytes(json.dumps({"ids": list(ids)}).encode()))

    def remove(self, name: str) -> None:
        """Forget a filter."""
        self._path(name).unlink(missing_ok=True)

    def apply(self, engine: Engine, *, everything: bool = False) -> None:
        """Give an engine what changed since the last time, or everything.

        Items that the engine does not know are left out.
        """
        if everything:
            self._applied = {}
        now = self.stamps()
        for name, stamp in now.items():
            if self._applied.get(name) != stamp:
                self._set(engine, name)
        for name in self._applied.keys() - now.keys():
            if name in engine.filter_names():
                engine.remove_filter(name)
        self._applied = now

    def _set(self, engine: Engine, name: str) -> None:
        try:
            ids = json.loads(self._path(name).read_text(encoding="utf-8"))["ids"]
            known = engine.item_ids.rows_or_missing(ids) >= 0
            engine.set_filter(name, [ids[i] for i in known.nonzero()[0]])
        except (OSError, ValueError, KeyError, TypeError, MMGRecError) as error:
            _LOG.error("a filter cannot be used", extra={"filter": name, "reason": str(error)})
        else:
            if not known.all():
                missing = int((~known).sum())
                _LOG.warning("a filter names unknown items", extra={"filter": name, "n": missing})

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.json"
