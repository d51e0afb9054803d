"""A client that loads a server over kept connections; it runs in a process of its own."""

from __future__ import annotations

import asyncio
import time
from array import array
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context

import numpy as np


@dataclass
class Load:
    """What came of a load.

    Of answers with status 200, unsorted: ``seconds``, their latencies; ``due``, seconds since the
    beginning.
    """

    wall_seconds: float
    seconds: array[float] = field(default_factory=lambda: array("d"))
    due: array[float] = field(default_factory=lambda: array("d"))
    failed: dict[str, int] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Good answers per second."""
        return len(self.seconds) / self.wall_seconds

    def quantile(self, share: float) -> float:
        """Return a quantile of the latency."""
        return float(np.quantile(self.seconds, share)) if self.seconds else float("nan")

    def slow_seconds(self, limit: float) -> int:
        """Return in how many of the load's seconds 99 % of what was due took longer than this."""
        if not self.seconds:
            return 0
        second = np.array(self.due).astype(int)
        order = np.argsort(second, kind="stable")
        ends = np.flatnonzero(np.diff(second[order])) + 1
        parts = np.split(np.array(self.seconds)[order], ends)
        return sum(bool(np.quantile(part, 0.99) > limit) for part in parts)

    @property
    def num_failed(self) -> int:
        """Requests without a good answer."""
        return sum(self.failed.values())


class _Connection(asyncio.Protocol):
    """One request at a time; what came back is its status."""

    def __init__(self) -> None:
        self._buffer = b""
        self._answer: asyncio.Future[int] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error or ConnectionResetError("closed by the server"))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        if len(rest) < int(length or 0):
            return
        self._buffer = b""
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(int(head.split(b" ", 2)[1]))

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def send(self, request: bytes) -> asyncio.Future[int]:
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._answer


class _Loader:
    """Connections that take requests from a schedule.

    ::

        open loop:   requests become due at a fixed rate, whether or not earlier ones are answered;
                     latency counts from when one was due
        closed loop: every connection sends its next request when it has the last answer
    """

    def __init__(self, host: str, port: int, requests: Sequence[bytes]) -> None:
        self._address = host, port
        self._requests = requests
        self._sent = 0
        self._all_due = False
        self.load = Load(0.0)

    async def run(self, rate: float | None, connections: int, seconds: float) -> Load:
        self._begin = begin = time.perf_counter()
        due: deque[float] = deque()
        wake = asyncio.Condition()
        self._end = begin + seconds
        tasks = [
            asyncio.create_task(self._connection(due if rate else None, wake))
            for _ in range(connections)
        ]
        if rate:
            await self._schedule(rate, begin, due, wake)
        await asyncio.gather(*tasks)
        self.load.wall_seconds = time.perf_counter() - begin
        return self.load

    async def _schedule(
        self, rate: float, begin: float, due: deque[float], wake: asyncio.Condition
    ) -> None:
        gaps = np.random.default_rng(0)  # Poisson arrivals: as independent users come
        at = begin
        while at < self._end:
            now = time.perf_counter()
            if at > now:
                await asyncio.sleep(at - now)
            async with wake:
                while at <= time.perf_counter() and at < self._end:
                    due.append(at)
                    at += gaps.exponential(1 / rate)
                wake.notify(len(due))
        async with wake:
            self._all_due = True
            wake.notify_all()

    async def _connection(self, due: deque[float] | None, wake: asyncio.Condition) -> None:
        loop = asyncio.get_running_loop()
        connection: _Connection | None = None
        while True:
            at = time.perf_counter()
            if due is not None:
                async with wake:
                    while not due and not self._all_due:
                        await wake.wait()
                    if not due:
                        return
                    at = due.popleft()
            elif at >= self._end:
                return
            try:
                if connection is None or not connection.is_open:
                    _, connection = await loop.create_connection(_Connection, *self._address)
                status = await connection.send(self._next())
            except OSError as error:
                self._fail(type(error).__name__)
                connection = None
                continue
            if status == 200:
                self.load.seconds.append(time.perf_counter() - at)
                self.load.due.append(at - self._begin)
            else:
                self._fail(str(status))

    def _next(self) -> bytes:
        self._sent += 1
        return self._requests[self._sent % len(self._requests)]

    def _fail(self, reason: str) -> None:
        self.load.failed[reason] = self.load.failed.get(reason, 0) + 1


def load_server(
    host: str,
    port: int,
    requests: Sequence[bytes],
    rate: float | None,
    connections: int,
    seconds: float,
) -> Load:
    """Load a server from this process: at a rate, or (None) as fast as it answers."""
    return asyncio.run(_Loader(host, port, requests).run(rate, connections, seconds))


class Client:
    """Loads a server from a process of its own."""

    def __init__(self, host: str, port: int, requests: Sequence[bytes]) -> None:
        self._pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
        self._server = host, port, list(requests)

    def begin(self, rate: float | None, connections: int, seconds: float) -> Future[Load]:
        """Begin to load it."""
        return self._pool.submit(load_server, *self._server, rate, connections, seconds)

    def load(self, rate: float | None, connections: int, seconds: float) -> Load:
        """Load it and wait for the end."""
        return self.begin(rate, connections, seconds).result()

    def close(self) -> None:
        """End the process."""
        self._pool.shutdown()
