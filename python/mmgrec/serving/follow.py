"""Watching the disk: a new artifact, edits and filters of other processes."""

from __future__ import annotations

import asyncio
import contextlib
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
        whatever goes wrong is logged, and the next look is taken all the same
    """

    def __init__(self, options: ServeOptions, models: Models, filters: FilterStore) -> None:
        self._options, self._models, self._filters = options, models, filters
        self._seen_artifact: tuple[int, ...] | None = None
        self._seen_edits: tuple[Any, ...] = ()

    async def run(self) -> None:
        """Load the first model, then watch until cancelled."""
        self._seen_artifact, self._seen_edits = self._artifact(), self._edits()
        if not await self._models.load_first():
            return
        while True:
            await asyncio.sleep(self._options.follow_seconds)
            try:
                await self._look()
            except Exception:
                _LOG.exception("what changed on disk could not be followed")

    async def _look(self) -> None:
        artifact = self._artifact()
        if artifact is not None and artifact != self._seen_artifact:
            self._seen_artifact = artifact
            with contextlib.suppress(MMGRecError):  # it is logged, and what was in use stays
                await self._models.reload()
        edits = self._edits()
        if edits != self._seen_edits:
            self._seen_edits = edits
            await self._models.follow()

    def _artifact(self) -> tuple[int, ...] | None:
        return _stamp(self._options.run / MANIFEST)

    def _edits(self) -> tuple[Any, ...]:
        folder = self._options.run / CATALOG
        try:
            journals = sorted(folder.glob("edits-*.log"))
            filters = self._filters.stamps()
        except OSError as error:
            return (str(error),)  # another stamp: `FilterStore.apply` tells of it, once
        return (_stamp(folder / MANIFEST), *map(_stamp, journals), filters)


def _stamp(path: Path) -> tuple[int, ...] | None:
    """Return what is another once a file is replaced or written; None where there is none."""
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size
