"""One worker process: uvicorn with our signals, time limits and logs."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn

from mmgrec.serving import heap
from mmgrec.serving.app import make_app
from mmgrec.serving.logs import log_as_json
from mmgrec.serving.metrics import Metrics
from mmgrec.serving.options import FAILED_TO_LOAD, ServeOptions, Worker
from mmgrec.serving.protocols import protocol_with_limit
from mmgrec.serving.serving import Serving
from mmgrec_engine.errors import MMGRecError

_LOG = logging.getLogger("mmgrec.serving")


class Server(uvicorn.Server):
    """uvicorn that drains on SIGTERM and SIGINT and ends with 0, and reloads on SIGHUP."""

    def __init__(self, config: uvicorn.Config, serving: Serving) -> None:
        super().__init__(config)
        self._serving = serving
        self._reload: asyncio.Task[None] | None = None

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals while serving."""
        loop = asyncio.get_running_loop()
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        for number in before:
            signal.signal(number, self.handle_exit)
        loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGHUP)
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop taking connections, answer what is under way; a second Ctrl-C stops at once."""
        self._serving.draining = True
        super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        """Stop as well where the first model cannot be loaded."""
        if self._serving.models.error is not None:
            return True
        return await super().on_tick(counter)

    def _on_hangup(self) -> None:
        self._reload = asyncio.get_running_loop().create_task(self._do_reload())

    async def _do_reload(self) -> None:
        try:
            await self._serving.models.reload()
        except MMGRecError:
            pass  # it is logged, and what was in use stays
        except Exception:
            _LOG.exception("a reload failed unexpectedly")


def serve(
    options: ServeOptions, worker: Worker, sockets: list[socket.socket], metrics_folder: str | None
) -> int:
    """Serve until told to stop; return the exit code."""
    log_as_json(worker.number)
    heap.keep_large_memory_apart()
    app = make_app(options, worker, Metrics(metrics_folder))
    serving: Serving = app.state.serving
    limits = options.limits
    config = uvicorn.Config(
        app,
        http=protocol_with_limit(limits.body_seconds),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="on",
        limit_concurrency=options.max_connections,
        timeout_graceful_shutdown=max(1, round(options.drain_seconds)),
    )
    Server(config, serving).run(sockets)
    error = serving.models.error
    if error is not None:
        unexpected = None if isinstance(error, MMGRecError) else error
        _LOG.error(
            "the model could not be loaded", extra={"reason": str(error)}, exc_info=unexpected
        )
        return FAILED_TO_LOAD
    return 0
