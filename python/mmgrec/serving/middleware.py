"""Around every request: its id, its trace, one log line, its metrics, and no stack trace out."""

from __future__ import annotations

import logging
import time
from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mmgrec.serving.metrics import Metrics
from mmgrec.serving.problems import Problem, respond
from mmgrec.serving.tracing import Span, request_id

_LOG = logging.getLogger("mmgrec.serving.request")


class Observed:
    """The outermost ASGI layer.

    ::

        id and trace from the headers -> scope; both into the answer's headers
        the app; an exception that nobody expected is logged and answered with a plain 500
        count, measure, log

    Handlers add figures to ``scope["mmgrec_figures"]``, which go into the log line.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics, access_log: bool) -> None:
        self._app, self._metrics, self._access_log = app, metrics, access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begin = time.perf_counter()
        headers = dict(scope["headers"])
        name = request_id(headers.get(b"x-request-id", b"").decode("latin-1"))
        span = Span.of(headers.get(b"traceparent", b"").decode("latin-1"))
        figures: dict[str, Any] = {}
        scope.update(mmgrec_request_id=name, mmgrec_span=span, mmgrec_figures=figures)
        answer = {"status": 0, "bytes": 0}

        async def observed(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer["status"] = message["status"]
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"x-request-id", name.encode()),
                    (b"traceparent", span.header.encode()),
                    (b"server-timing", _timing(figures, time.perf_counter() - begin)),
                ]
            else:
                answer["bytes"] += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, observed)
        except Exception:
            _LOG.exception("a request failed unexpectedly", extra={"request_id": name})
            if answer["status"] == 0:
                problem = Problem(500, "something went wrong here; the log has it by request id")
                await respond(Request(scope), problem)(scope, receive, observed)
        finally:
            self._finish(scope, answer, time.perf_counter() - begin, span)

    def _finish(self, scope: Scope, answer: dict[str, int], seconds: float, span: Span) -> None:
        # The template, not the path: paths hold ids and would make as many series.
        route = getattr(scope.get("route"), "path", None) or "unknown"
        self._metrics.request(route, answer["status"], seconds)
        if not self._access_log:
            return
        line = {
            "method": scope["method"],
            "path": scope["path"],
            "status": answer["status"],
            "request_id": scope["mmgrec_request_id"],
            "trace_id": span.trace,
            "span_id": span.span,
            "bytes": answer["bytes"],
            "total_ms": round(seconds * 1e3, 3),
            **scope["mmgrec_figures"],
        }
        if span.parent:
            line["parent_id"] = span.parent
        if "mmgrec_problem" in scope:
            line["problem"] = scope["mmgrec_problem"]
        _LOG.info("request", extra=line)


def _timing(figures: dict[str, Any], seconds: float) -> bytes:
    """Say how long it took so far, for browsers and whoever else reads Server-Timing."""
    parts = {name: figures.get(f"{name}_ms") for name in ("queue", "compute")}
    parts["total"] = round(seconds * 1e3, 3)
    return ", ".join(f"{name};dur={ms}" for name, ms in parts.items() if ms is not None).encode()
