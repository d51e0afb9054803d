"""Everything that handlers share, in one place."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from starlette.requests import Request

from mmgrec.serving.batcher import Call, History, Job, Lane
from mmgrec.serving.computing import Answer, Computing
from mmgrec.serving.filter_store import FilterStore
from mmgrec.serving.follow import Follower
from mmgrec.serving.metrics import Metrics
from mmgrec.serving.models import Models
from mmgrec.serving.options import ServeOptions, Worker, filters_of
from mmgrec.serving.problems import Problem

_LOG = logging.getLogger("mmgrec.serving")


@dataclass(frozen=True)
class Asked:
    """Who a request is about: histories, and users where they are known."""

    histories: Sequence[History]
    users: Sequence[Hashable | None] | None = None


class Serving:
    """One worker's model, queues and figures.

    Exact searches take milliseconds to seconds; they have a queue and a thread of their own, so
    that beam searches do not wait behind them.
    """

    def __init__(self, options: ServeOptions, worker: Worker, metrics: Metrics) -> None:
        self.options, self.worker, self.metrics = options, worker, metrics
        self.filters = FilterStore(options.filters or filters_of(options.run))
        self.models = Models(options, worker, metrics, self.filters)
        self.draining = False
        self.walking = asyncio.Semaphore(1)  # walks of the page, one at a time
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin to load the model and to take requests."""
        computing, options = Computing(self.models), self.options
        self.lanes = {
            name: Lane(
                name,
                computing,
                self.metrics,
                batch_users=options.batch_users,
                queued_users=options.queued_users,
                wait_seconds=wait,
            )
            for name, wait in (("beam", options.batch_wait_ms / 1e3), ("exact", 0.0))
        }
        for lane in self.lanes.values():
            lane.start()
        follower = Follower(options, self.models, self.filters)
        self._tasks = [asyncio.create_task(follower.run())]

    async def stop(self) -> None:
        """Stop after the last request was answered."""
        self.draining = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for lane in self.lanes.values():
            await lane.stop()
        with contextlib.suppress(Exception):
            await self.models.close()

    async def recommend(self, request: Request, call: Call, asked: Asked, seconds: float) -> Answer:
        """Answer within so many seconds; see `Lane.answer` for what may come instead."""
        self.models.get()
        job = Job(
            call,
            asked.histories,
            asked.users,
            time.monotonic() + seconds,
            asyncio.get_running_loop().create_future(),
        )
        lane = self.lanes["beam" if call.exact_limit is None else "exact"]
        try:
            answer: Answer = await lane.answer(job)
        finally:
            request.scope["mmgrec_figures"].update(
                users=job.num_users,
                batch_users=job.batch_users,
                queue_ms=round(job.queue_seconds * 1e3, 3),
                compute_ms=round(job.compute_seconds * 1e3, 3),
            )
        self.metrics.users.inc(job.num_users)
        return answer

    def check_size(self, what: str, size: int, most: int) -> None:
        """Raise the 422 of a request that asks for more than one may."""
        if size > most:
            raise Problem(
                422, f"{what} is beyond this server's limit", value=size, allowed=f"{most}"
            )

    def deadline_seconds(self, asked_ms: float | None) -> float:
        """Return a request's time, the server's own where it names none."""
        if asked_ms is None:
            return self.options.deadline_ms / 1e3
        return min(asked_ms, self.options.limits.deadline_ms) / 1e3


def serving_of(request: Request) -> Serving:
    """Return what the app serves with."""
    serving: Serving = request.app.state.serving
    return serving
