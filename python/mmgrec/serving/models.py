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

from mmgrec.serving import heap
from mmgrec.serving.filter_store import FilterStore
from mmgrec.serving.known_users import ServedUsers
from mmgrec.serving.metrics import Metrics
from mmgrec.serving.options import ServeOptions, Worker
from mmgrec.serving.popular import Popular
from mmgrec.serving.problems import Problem
from mmgrec.serving.turns import Pauses, turn
from mmgrec_engine.artifact import MODEL, open_folder
from mmgrec_engine.engine import Engine
from mmgrec_engine.errors import MMGRecError
from mmgrec_engine.model_folder import load_model_folder

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


def load(options: ServeOptions, pause: Callable[[], None]) -> Served:
    """Load the artifact that the run's path leads to now; errors as of `Engine.load`.

    ``pause`` is called between the steps.
    """
    folder = options.run.resolve()
    version = version_of(folder)
    artifact = load_model_folder(folder)
    pause()
    engine = Engine(artifact, threads=options.threads, precision=options.precision)
    pause()
    users = ServedUsers(folder)
    pause()
    return Served(engine, version, users, Popular(engine), folder)


def version_of(folder: Path) -> str:
    """Return a short hash of an artifact's files."""
    files = open_folder(folder, MODEL, verify=False).files
    hashes = sorted((name, entry["sha256"]) for name, entry in files.items())
    return hashlib.sha256(repr(hashes).encode()).hexdigest()[:12]


class Models:
    """Holds the one model that requests use, ``current``; None while the first is loading.

    ::

        request: model = models.current   one attribute; the request ends on what it began with
        reload:  wait for this worker's turn; load beside the old one, with pauses; hold edits; old
                 one lets go of its items on disk; new one reads the edits that came meanwhile; swap
        edit:    one at a time, in a thread
    """

    def __init__(
        self, options: ServeOptions, worker: Worker, metrics: Metrics, filters: FilterStore
    ) -> None:
        self.current: Served | None = None
        self.error: Exception | None = None
        self._options, self._metrics, self._filters = options, metrics, filters
        self._turns = worker.turns
        self._reloading, self._editing = asyncio.Lock(), asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="mmgrec-edit")
        # One thread for all loading: every thread has a heap of its own, and each would grow.
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="mmgrec-load")

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
            try:
                return await self._take_over(self.current)
            finally:
                await _in(self._loader, heap.give_back)  # what the old one had, or a refused one

    async def _take_over(self, old: Served | None) -> bool:
        try:
            new = await self._load_in_turn() if old else await _in(self._loader, self._load)
            async with self._editing:
                await _in(self._thread, lambda: self._hand_over(old, new))
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
            result = await _in(self._thread, lambda: change(engine))
        self._count_items()
        return result

    async def follow(self) -> None:
        """Take over what other processes did to items and filters."""
        async with self._editing:
            if self.current is not None:
                model = self.current
                await _in(self._thread, lambda: self._follow(model))
        self._count_items()

    async def close(self) -> None:
        """Give up the right to edit; wait for a running edit or compaction."""
        self._metrics.ready.set(0)
        async with self._editing:
            if self.current is not None:
                await _in(self._thread, self.current.engine.close)
        self._thread.shutdown()
        self._loader.shutdown()

    async def _load_in_turn(self) -> Served:
        """Load beside a model that is in use: others answer meanwhile, and so does this worker."""
        async with turn(self._turns):
            return await _in(self._loader, lambda: self._load(Pauses()))

    def _load(self, pause: Callable[[], None] = lambda: None) -> Served:
        begin = time.monotonic()
        new = load(self._options, pause)
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


async def _in(thread: ThreadPoolExecutor, work: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(thread, work)
