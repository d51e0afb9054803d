"""Edits go to worker 0: it alone has the catalogue open for writing, the others pass them on."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from mmgrec.serving.problems import Problem
from mmgrec.serving.serving import Serving

_SECONDS = 300.0
"""An edit may have to load torch, for features, and wait for edits before it."""


async def passed_on(serving: Serving, request: Request, body: bytes) -> Response | None:
    """Have the editor make the edit; None where that is this worker.

    ::

        the request as it came, over the editor's socket; its answer as it came
        then read the edit, so that whoever made it sees it here at once

    Raises
    ------
    Problem
        503 where the editor is not there.
    """
    socket = serving.worker.editor_socket
    if socket is None or serving.worker.is_editor:
        return None
    try:
        async with asyncio.timeout(_SECONDS):
            status, media_type, answer = await _exchange(socket, request, body)
    except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError):
        raise Problem(
            503,
            "the worker that makes edits does not answer",
            remedy="try again; the edit may have been made",
            headers={"retry-after": "1"},
        ) from None
    if status < 300:
        await serving.models.follow()
    return Response(answer, status, media_type=media_type)


async def _exchange(socket: str, request: Request, body: bytes) -> tuple[int, str, bytes]:
    reader, writer = await asyncio.open_unix_connection(socket)
    try:
        path = request.scope["raw_path"].decode("ascii")
        head = [
            f"{request.method} {path} HTTP/1.1",
            "host: editor",
            "connection: close",
            f"content-length: {len(body)}",
            f"authorization: {request.headers.get('authorization', '')}",
            f"x-request-id: {request.scope['mmgrec_request_id']}",
            f"traceparent: {request.scope['mmgrec_span'].header}",
        ]
        writer.write(("\r\n".join(head) + "\r\n\r\n").encode("latin-1") + body)
        await writer.drain()
        begin = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in begin[1:] if ": " in line)
        answer = await reader.readexactly(int(headers.get("content-length", "0")))
        return int(begin[0].split(" ")[1]), headers.get("content-type", ""), answer
    finally:
        writer.close()
