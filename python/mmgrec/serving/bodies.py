"""Bodies of requests: bounded in bytes, time and depth before anything is made of them."""

from __future__ import annotations

import asyncio
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request

from mmgrec.serving.options import Limits
from mmgrec.serving.problems import Problem

Model = TypeVar("Model", bound=BaseModel)


async def read_body(request: Request, limits: Limits) -> bytes:
    """Read a body.

    Raises
    ------
    Problem
        413 beyond the limit, said by its header or found while reading; 408 where it is not here
        in time; 400 where the client went away.
    """
    said = request.headers.get("content-length", "0")
    if said.isdigit() and int(said) > limits.body_bytes:
        raise _too_large(limits)
    parts, size = [], 0
    try:
        async with asyncio.timeout(limits.body_seconds):
            async for part in request.stream():
                size += len(part)
                if size > limits.body_bytes:
                    raise _too_large(limits)
                parts.append(part)
    except TimeoutError:
        raise Problem(
            408,
            "the body did not arrive in time",
            allowed=f"{limits.body_seconds:g} s",
            headers={"connection": "close"},
        ) from None
    except ClientDisconnect:
        raise Problem(400, "the client went away before its body was here") from None
    return b"".join(parts)


def parse(model: type[Model], body: bytes) -> Model:
    """Read JSON into a model.

    Raises
    ------
    Problem
        400 where it is no JSON, or nested too deeply; 422 where it does not fit.
    """
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        if first["type"] == "json_invalid":
            raise Problem(400, first["msg"], remedy="send JSON, not nested deeply") from None
        where = ".".join(str(part) for part in first["loc"])
        detail = f"{where}: {first['msg']}" if where else first["msg"]
        raise Problem(422, detail, value=repr(first["input"])) from None


def _too_large(limits: Limits) -> Problem:
    # The rest of the body is not read, so the connection cannot be used again.
    return Problem(
        413,
        "the body is too large",
        allowed=f"{limits.body_bytes} bytes",
        headers={"connection": "close"},
    )
