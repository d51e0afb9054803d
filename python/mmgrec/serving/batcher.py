"""Micro-batches: requests that ask for the same thing are computed in one native call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from mmgrec.serving.metrics import Metrics
from mmgrec.serving.problems import Problem

History = Sequence[Hashable]


@dataclass(frozen=True)
class Call:
    """What all users of one engine call share. ``exact_limit``: None for a beam search."""

    k: int
    beam_width: int
    exclude_seen: bool = True
    exact_limit: int | None = None
    where: str | None = None
    allow: tuple[Hashable, ...] | None = None
    deny: tuple[Hashable, ...] | None = None


@dataclass(eq=False)
class Job:
    """One request on its way; ``answer`` gets what `Compute` made of it."""

    call: Call
    histories: Sequence[History]
    users: Sequence[Hashable | None] | None
    deadline: float
    answer: asyncio.Future[Any]
    arrived: float = field(default_factory=time.monotonic)
    queue_seconds: float = 0.0
    compute_seconds: float = 0.0
    batch_users: int = 0

    @property
    def num_users(self) -> int:
        """Users of the request."""
        return len(self.histories)


Compute = Callable[[Call, list[Job]], list[Any]]
"""Returns for each job its answer, or the exception that is its answer."""


class Lane:
    """A queue and the one thread that computes what is in it.

    ::

        idle:   a request starts at once (or, with `wait_seconds`, when it has waited so long or
                enough others came)
        busy:   requests collect; the next batch is the oldest one and all that share its call
        full:   429;  past its deadline: 504, and what is still queued is never computed

    Parameters
    ----------
    name : str
        "beam" or "exact", for metrics.
    compute : callable
        Called in the lane's thread.
    batch_users, queued_users : int
        Users of a batch, and in the queue, at most; a larger request is a batch of its own.
    wait_seconds : float
        See above.
    """

    def __init__(
        self,
        name: str,
        compute: Compute,
        metrics: Metrics,
        *,
        batch_users: int,
        queued_users: int,
        wait_seconds: float = 0.0,
    ) -> None:
        self._name, self._compute, self._metrics = name, compute, metrics
        self._batch_users, self._queued_users = batch_users, queued_users
        self._wait_seconds = wait_seconds
        self._waiting: dict[Job, None] = {}  # in order of arrival
        self._users = 0
        self._more = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"mmgrec-{name}")
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to compute."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop; whoever still waits gets no answer from here."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._thread.shutdown(wait=True)

    @property
    def queued_users(self) -> int:
        """Users that wait."""
        return self._users

    async def answer(self, job: Job) -> Any:  # noqa: ANN401 - what `compute` returns
        """Queue a request and wait for its answer.

        Raises
        ------
        Problem
            429 where the queue is full, 504 where the deadline is missed.
        """
        if self._users and self._users + job.num_users > self._queued_users:
            self._metrics.rejected.labels("queue_full").inc()
            raise Problem(
                429,
                "the queue is full",
                allowed=f"{self._queued_users} waiting users",
                remedy="come again, or add workers",
                headers={"retry-after": "1"},
            )
        self._waiting[job] = None
        self._count(job.num_users)
        self._more.set()
        try:
            async with asyncio.timeout(job.deadline - time.monotonic()):
                return await job.answer
        except TimeoutError:
            self._metrics.rejected.labels("deadline").inc()
            raise Problem(504, "the deadline passed before the answer was there") from None
        finally:
            self._remove(job)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._compute_one(await self._next_batch(), loop)

    async def _compute_one(self, jobs: list[Job], loop: asyncio.AbstractEventLoop) -> None:
        # A call of its own: its answers hold a model, which has to go when another takes its place,
        # even if nobody asks again.
        started = time.monotonic()
        users = sum(job.num_users for job in jobs)
        answers = await loop.run_in_executor(self._thread, self._guarded, jobs)
        seconds = time.monotonic() - started
        self._metrics.batch(self._name, users, seconds)
        for job, answer in zip(jobs, answers, strict=True):
            job.compute_seconds, job.batch_users = seconds, users
            _settle(job.answer, answer)

    async def _next_batch(self) -> list[Job]:
        while True:
            while not self._waiting:
                self._more.clear()
                await self._more.wait()
            await self._wait_for_company()
            jobs = self._take()
            if jobs:
                return jobs

    async def _wait_for_company(self) -> None:
        """Give others the chance to join, as long as the oldest request's budget allows."""
        while self._waiting and self._users < self._batch_users:
            oldest = next(iter(self._waiting))
            left = oldest.arrived + self._wait_seconds - time.monotonic()
            if left <= 0:
                return
            self._more.clear()
            try:
                async with asyncio.timeout(left):
                    await self._more.wait()
            except TimeoutError:
                return

    def _take(self) -> list[Job]:
        """Remove the oldest request from the queue, and those that can be computed with it."""
        now, jobs, users = time.monotonic(), list[Job](), 0
        for job in list(self._waiting):
            if job.deadline <= now or job.answer.done():
                self._remove(job)  # its own timer answers it
                continue
            if jobs and (job.call != jobs[0].call or users + job.num_users > self._batch_users):
                continue
            jobs.append(job)
            users += job.num_users
            if users >= self._batch_users:
                break
        for job in jobs:
            self._remove(job)
            job.queue_seconds = now - job.arrived
            self._metrics.queue_seconds.observe(job.queue_seconds)
        return jobs

    def _remove(self, job: Job) -> None:
        if job in self._waiting:
            del self._waiting[job]
            self._count(-job.num_users)

    def _count(self, users: int) -> None:
        self._users += users
        self._metrics.queued_users.labels(self._name).set(self._users)

    def _guarded(self, jobs: list[Job]) -> list[Any]:
        try:
            return self._compute(jobs[0].call, jobs)
        except Exception as error:
            return [error] * len(jobs)


def _settle(future: asyncio.Future[Any], answer: object) -> None:
    if future.done():  # gave up meanwhile
        return
    if isinstance(answer, Exception):
        future.set_exception(answer)
    else:
        future.set_result(answer)
