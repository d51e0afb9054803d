"""The model that answers, and how another one takes its place."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from mmgrec.serving.filter_store import FilterStore
from mmgrec.serving.known_users import ServedUsers
from mmgrec.serving.metrics import Metrics
from mmgrec.serving.options import ServeOptions
from mmgrec.serving.popular import Popular
from mmgrec.serving.problems import Problem
from mmgrec_engine.artifact import open_folder
from mmgrec_engine.engine import Engine
from mmgrec_engine.errors import MMGRecError
from mmgrec_engine.model_folder import KIND

_LOG = logging.getLogger("mmgrec.serving.models")
T = TypeVar("T")


@dataclass(frozen=True)
class Served:
    """A model in use. ``folder``: where it was read from, links resolved."""

    engine: Engine
    version: str
    users: ServedUsers
    popular: Popular
    folder: Path


def load(options: ServeOptions) -> Served:
    """Load the artifact that the run's path leads to now; errors as of `Engine.load`."""
    folder = options.run.resolve()
    version = version_of(folder)
    engine = Engine.load(folder, threads=options.threads, precision=options.precision)
    return Served(engine, version, ServedUsers(folder), Popular(engine), folder)


def version_of(folder: Path) -> str:
    """Return a short hash of an artifact's files."""
    files = open_folder(folder, KIND, verify=False).files
    hashes = sorted((name, entry["sha256"]) for name, entry in files.items())
    return hashlib.sha256(repr(hashes).encode()).hexdigest()[:12]


class Models:
    """Holds the one model that requests use, ``current``; None while the first is loading.

    ::

        request: model = models.current   one attribute; the request ends on what it began with
        reload:  load beside the old one; hold edits; old one lets go of its items on disk; new one
                 reads the edits that came meanwhile; swap
        edit:    one at a time, in a thread
    """

    def __init__(self, options: ServeOptions, metrics: Metrics, filters: FilterStore) -> None:
        self.current: Served | None = None
        self.error: Exception | None = None
        self._options, self._metrics, self._filters = options, metrics, filters
        self._reloading, self._editing = asyncio.Lock(), asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="mmgrec-edit")

    def get(self) -> Served:
        """Return the current model, or raise the 503 of a server that is still loading."""
        if self.current is None:
            raise Problem(
                503, "the model is being loaded", remedy="wait", headers={"retry-after": "1"}
            )
        return self.current

    async def load_first(self) -> bool:
        """Load the first model; say whether it could be. ``error`` says why not."""
        try:
            await self.reload()
        except Exception as error:  # without a model there is nothing to serve
            self.error = error
            return False
        return True

    async def reload(self) -> bool:
        """Take what is on disk now into use; say whether it is another version.

        Raises
        ------
        MMGRecError
            It cannot be used; what was in use stays.
        """
        async with self._reloading:
            old = self.current
            try:
                new = await asyncio.to_thread(self._load)
                async with self._editing:
                    await self._in_thread(lambda: self._hand_over(old, new))
                    self.current = new
            except MMGRecError as error:
                self._metrics.reloads.labels("refused").inc()
                _LOG.error("the artifact was refused", extra={"reason": str(error)})
                raise
            if old is None:
                self._metrics.ready.set(1)
            else:
                self._metrics.reloads.labels("loaded").inc()
            self._count_items()
            _LOG.info("a model is in use", extra={"version": new.version, "pid": os.getpid()})
            return old is None or old.version != new.version

    async def edit(self, change: Callable[[Engine], T]) -> T:
        """Change the items of the current model, in a thread; errors as of the engine."""
        async with self._editing:
            engine = self.get().engine
            result = await self._in_thread(lambda: change(engine))
        self._count_items()
        return result

    async def follow(self) -> None:
        """Take over what other processes did to items and filters."""
        async with self._editing:
            if self.current is not None:
                model = self.current
                await self._in_thread(lambda: self._follow(model))
        self._count_items()

    async def close(self) -> None:
        """Give up the right to edit; wait for a running edit or compaction."""
        self._metrics.ready.set(0)
        async with self._editing:
            if self.current is not None:
                await self._in_thread(self.current.engine.close)
        self._thread.shutdown()

    def _load(self) -> Served:
        begin = time.monotonic()
        new = load(self._options)
        self._metrics.load_seconds.observe(time.monotonic() - begin)
        return new

    def _hand_over(self, old: Served | None, new: Served) -> None:
        if old is not None:
            old.engine.close()
        new.engine.refresh()
        self._filters.apply(new.engine, everything=True)

    def _follow(self, model: Served) -> None:
        try:
            model.engine.refresh()
        except MMGRecError as error:
            _LOG.error("edits of another process were refused", extra={"reason": str(error)})
        self._filters.apply(model.engine)

    def _count_items(self) -> None:
        if self.current is not None:
            self._metrics.items.set(self.current.engine.num_items)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
