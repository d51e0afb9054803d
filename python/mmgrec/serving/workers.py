"""From options to a running server: one process, or several that share a port."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import wait
from pathlib import Path

from mmgrec.serving.options import FAILED_TO_LOAD, ServeOptions, Worker, filters_of
from mmgrec_engine.errors import ConfigError
from mmgrec_engine.settings import num_threads

_TICK = 0.2
_PAUSE = 1.0
"""Seconds before a worker that died is started again."""


def run_server(options: ServeOptions, listener: socket.socket) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code."""
    options = replace(
        options,
        threads=options.threads or max(1, num_threads() // options.workers),
        # A worker that is started again has the filters of the others, wherever a link leads then.
        filters=options.filters or filters_of(options.run),
    )
    if options.workers == 1:
        return _serve(options, Worker(), [listener], None)
    with tempfile.TemporaryDirectory(prefix="mmgrec-serve-") as folder:
        return _Workers(options, listener, Path(folder)).run()


def bind(host: str, port: int) -> socket.socket:
    """Return a bound socket; port 0 is any free one.

    Raises
    ------
    ConfigError
        The address is taken or not ours.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {host}:{port}", value=error, remedy="choose another --port"
        ) from None
    return listener


class _Workers:
    """Starts workers, starts those again that die, and passes signals on.

    ::

        the supervisor imports nothing of what serves: 40 MB that no request needs
        worker 0 has a second socket, on which the others hand it the edits that they get
        figures of all workers are in one folder (prometheus_client's multiprocess mode)
        a model that cannot be loaded ends the server at its start; later, when a worker had to be
            replaced and what lies on disk by then is refused, the others go on with what they have
    """

    def __init__(self, options: ServeOptions, listener: socket.socket, folder: Path) -> None:
        self._options, self._listener = options, listener
        self._metrics = folder / "metrics"
        self._metrics.mkdir()
        self._editor = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._editor_path = str(folder / "editor.sock")
        self._editor.bind(self._editor_path)
        for each in (listener, self._editor):
            each.listen(2048)
        self._context = multiprocessing.get_context("spawn")
        self._processes: dict[int, multiprocessing.process.BaseProcess] = {}
        self._replaced: set[int] = set()
        self._stopping = False

    def run(self) -> int:
        """Supervise until told to stop; return the exit code."""
        # The library reads it when a worker imports it; it cannot be told later.
        os.putenv("PROMETHEUS_MULTIPROC_DIR", str(self._metrics))
        with self._signals():
            for number in range(self._options.workers):
                self._start(number)
            code = 0
            while not self._stopping:
                wait([process.sentinel for process in self._processes.values()], _TICK)
                code = self._replace_dead()
            return self._stop() or code

    def _start(self, number: int) -> None:
        sockets = [self._listener, *([self._editor] if number == 0 else [])]
        process = self._context.Process(
            target=_work,
            args=(self._options, Worker(number, self._editor_path), sockets, str(self._metrics)),
            name=f"mmgrec-worker-{number}",
        )
        process.start()
        self._processes[number] = process

    def _replace_dead(self) -> int:
        for number, process in list(self._processes.items()):
            if process.is_alive() or self._stopping:
                continue
            self._forget_figures(process.pid)
            if process.exitcode == FAILED_TO_LOAD and not self._others_go_on(number):
                self._stopping = True
                return FAILED_TO_LOAD
            time.sleep(_PAUSE)
            self._replaced.add(number)
            self._start(number)
        return 0

    def _others_go_on(self, number: int) -> bool:
        others = (process for n, process in self._processes.items() if n != number)
        return number in self._replaced and any(process.is_alive() for process in others)

    def _forget_figures(self, pid: int | None) -> None:
        """Drop what a dead worker's gauges say; its counters stay in the sums."""
        for path in self._metrics.glob(f"gauge_live*_{pid}.db"):
            path.unlink()

    def _stop(self) -> int:
        self._send(signal.SIGTERM)
        deadline = time.monotonic() + self._options.drain_seconds + 5
        for process in self._processes.values():
            process.join(max(0.0, deadline - time.monotonic()))
        late = [process for process in self._processes.values() if process.is_alive()]
        for process in late:
            process.kill()
            process.join()
        return 1 if late else 0

    def _send(self, number: int) -> None:
        for process in self._processes.values():
            if process.pid is not None and process.is_alive():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, number)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        def stop(number: int, frame: object) -> None:
            self._stopping = True

        handlers = {
            signal.SIGTERM: stop,
            signal.SIGINT: stop,
            signal.SIGHUP: lambda number, frame: self._send(signal.SIGHUP),
        }
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _work(
    options: ServeOptions, worker: Worker, sockets: list[socket.socket], metrics: str
) -> None:
    """Be a worker; drain and end when the parent is gone."""
    import threading

    def watch_parent() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch_parent, daemon=True).start()
    raise SystemExit(_serve(options, worker, sockets, metrics))


def _serve(
    options: ServeOptions, worker: Worker, sockets: list[socket.socket], metrics: str | None
) -> int:
    from mmgrec.serving.server import serve

    return serve(options, worker, sockets, metrics)
