"""Watching the disk: a new artifact, edits and filters of other processes."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path
from typing import Any

from mmgrec.serving.filter_store import FilterStore
from mmgrec.serving.models import Models
from mmgrec.serving.options import ServeOptions
from mmgrec_engine.artifact import MANIFEST
from mmgrec_engine.errors import MMGRecError
from mmgrec_engine.model_folder import CATALOG

_LOG = logging.getLogger("mmgrec.serving.follow")


class Follower:
    """Looks at a few files' stamps every so often, and acts on what changed.

    ::

        manifest of the artifact: reload (a refused one is not tried again until it changes)
        journal or manifest of the live catalogue, filters: follow
    """

    def __init__(self, options: ServeOptions, models: Models, filters: FilterStore) -> None:
        self._options, self._models, self._filters = options, models, filters

    async def run(self) -> None:
        """Load the first model, then watch until cancelled."""
        artifact, edits = self._artifact(), self._edits()
        if not await self._models.load_first():
            return
        while True:
            await asyncio.sleep(self._options.follow_seconds)
            now = self._artifact()
            if now is not None and now != artifact:
                artifact = now
                try:
                    await self._models.reload()
                except MMGRecError:
                    continue  # it is logged, and what was in use stays
                except Exception:
                    _LOG.exception("a reload failed unexpectedly")
                    continue
            changed = self._edits()
            if changed != edits:
                edits = changed
                try:
                    await self._models.follow()
                except Exception:
                    _LOG.exception("edits could not be followed")

    def _artifact(self) -> tuple[int, ...] | None:
        return _stamp(self._options.run / MANIFEST)

    def _edits(self) -> tuple[Any, ...]:
        folder = self._options.run / CATALOG
        journals = sorted(folder.glob("edits-*.log"))
        return (
            _stamp(folder / MANIFEST),
            *(_stamp(path) for path in journals),
            self._filters.stamps(),
        )


def _stamp(path: Path) -> tuple[int, ...] | None:
    """Return what is another once a file is replaced or written; None where there is none."""
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size
