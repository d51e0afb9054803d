"""Micro-batches: who is computed with whom, when, and who is turned away."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from mmgrec.serving.batcher import Call, Job, Lane
from mmgrec.serving.metrics import Metrics
from mmgrec.serving.problems import Problem

CALL = Call(10, 50)


class Gate:
    """A computation that waits to be let through, and remembers its batches."""

    def __init__(self) -> None:
        self.begun, self.open = threading.Event(), threading.Event()
        self.batches: list[tuple[Call, list[Any]]] = []

    def __call__(self, call: Call, jobs: list[Job]) -> list[Any]:
        self.batches.append((call, [job.histories for job in jobs]))
        self.begun.set()
        assert self.open.wait(30)
        return [job.histories for job in jobs]

    async def until_begun(self) -> None:
        assert await asyncio.to_thread(self.begun.wait, 30)


def job(name: object, call: Call = CALL, users: int = 1, seconds: float = 60.0) -> Job:
    future = asyncio.get_running_loop().create_future()
    return Job(call, [[name]] * users, None, time.monotonic() + seconds, future)


def run(body: Callable[[Lane, Gate], Awaitable[None]], **options: Any) -> Gate:  # noqa: ANN401
    gate = Gate()

    async def main() -> None:
        lane = Lane("beam", gate, Metrics(), **{"batch_users": 8, "queued_users": 4, **options})
        lane.start()
        try:
            await body(lane, gate)
        finally:
            gate.open.set()
            await lane.stop()

    asyncio.run(main())
    return gate


def test_what_comes_while_a_batch_is_computed_is_the_next_batch() -> None:
    async def body(lane: Lane, gate: Gate) -> None:
        first = asyncio.create_task(lane.answer(job("a")))
        await gate.until_begun()
        others = [asyncio.create_task(lane.answer(job(name))) for name in "bcd"]
        await asyncio.sleep(0)
        assert lane.queued_users == 3
        gate.open.set()
        assert await first == [["a"]]
        assert await asyncio.gather(*others) == [[["b"]], [["c"]], [["d"]]]

    assert [len(jobs) for _, jobs in run(body).batches] == [1, 3]


def test_only_equal_calls_share_a_batch_and_nobody_is_overtaken_by_more_than_one() -> None:
    other = Call(10, 20)

    async def body(lane: Lane, gate: Gate) -> None:
        tasks = [asyncio.create_task(lane.answer(job("a")))]
        await gate.until_begun()
        for name, call in (("b", other), ("c", CALL), ("d", other)):
            tasks.append(asyncio.create_task(lane.answer(job(name, call))))
        await asyncio.sleep(0)
        gate.open.set()
        await asyncio.gather(*tasks)

    batches = run(body).batches
    assert [call for call, _ in batches] == [CALL, other, CALL]
    assert batches[1][1] == [[["b"]], [["d"]]]


def test_a_batch_is_no_larger_than_allowed_but_for_one_large_request() -> None:
    async def body(lane: Lane, gate: Gate) -> None:
        tasks = [asyncio.create_task(lane.answer(job("a")))]
        await gate.until_begun()
        for name, users in (("b", 3), ("c", 2), ("d", 1)):
            tasks.append(asyncio.create_task(lane.answer(job(name, users=users))))
        await asyncio.sleep(0)
        gate.open.set()
        await asyncio.gather(*tasks)

    batches = run(body, batch_users=2, queued_users=100).batches
    assert [[len(users) for users in jobs] for _, jobs in batches] == [[1], [3], [2], [1]]


def test_a_full_queue_is_a_429_and_an_empty_one_takes_any_request() -> None:
    async def body(lane: Lane, gate: Gate) -> None:
        first = asyncio.create_task(lane.answer(job("a")))
        await gate.until_begun()
        large = asyncio.create_task(lane.answer(job("b", users=9)))
        await asyncio.sleep(0)
        with pytest.raises(Problem) as refused:
            await lane.answer(job("c"))
        assert refused.value.status == 429
        assert refused.value.headers == {"retry-after": "1"}
        gate.open.set()
        await asyncio.gather(first, large)

    run(body)


def test_a_missed_deadline_is_a_504_and_is_not_computed() -> None:
    async def body(lane: Lane, gate: Gate) -> None:
        first = asyncio.create_task(lane.answer(job("a")))
        await gate.until_begun()
        with pytest.raises(Problem) as late:
            await lane.answer(job("b", seconds=0.001))
        assert late.value.status == 504
        assert lane.queued_users == 0
        gate.open.set()
        await first

    assert len(run(body).batches) == 1


def test_an_error_reaches_whoever_asked_and_the_lane_goes_on() -> None:
    def fail(call: Call, jobs: list[Job]) -> list[Any]:
        if call is CALL:
            raise ValueError("broken")
        return [KeyError("mine") if job.histories == [["b"]] else 1 for job in jobs]

    async def main() -> None:
        lane = Lane("beam", fail, Metrics(), batch_users=8, queued_users=8)
        lane.start()
        with pytest.raises(ValueError, match="broken"):
            await lane.answer(job("a"))
        other = Call(1, 1)
        answers = await asyncio.gather(
            lane.answer(job("b", other)), lane.answer(job("c", other)), return_exceptions=True
        )
        assert isinstance(answers[0], KeyError)
        assert answers[1] == 1
        await lane.stop()

    asyncio.run(main())


def test_a_budget_lets_others_join_an_idle_lane() -> None:
    async def body(lane: Lane, gate: Gate) -> None:
        gate.open.set()
        tasks = [asyncio.create_task(lane.answer(job(name))) for name in "ab"]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        tasks.append(asyncio.create_task(lane.answer(job("c"))))
        await asyncio.gather(*tasks)

    assert [len(jobs) for _, jobs in run(body, wait_seconds=60.0, batch_users=3).batches] == [3]


def test_a_lone_request_waits_no_longer_than_its_budget() -> None:
    async def body(lane: Lane, gate: Gate) -> None:
        gate.open.set()
        lone = job("a", seconds=30.0)
        await lane.answer(lone)
        assert lone.queue_seconds >= 0.01

    run(body, wait_seconds=0.01)


def test_an_idle_lane_keeps_nothing_of_its_last_batch() -> None:
    class Answer:
        """Stands for one that holds a model."""

    made: list[weakref.ref[Answer]] = []

    def compute(call: Call, jobs: list[Job]) -> list[Any]:
        answer = Answer()
        made.append(weakref.ref(answer))
        return [answer]

    async def main() -> None:
        lane = Lane("beam", compute, Metrics(), batch_users=8, queued_users=4)
        lane.start()
        try:
            await lane.answer(job("a"))
            await asyncio.to_thread(lambda: None)  # the lane has gone on to wait
            gc.collect()
            assert [each() for each in made] == [None]
        finally:
            await lane.stop()

    asyncio.run(main())
