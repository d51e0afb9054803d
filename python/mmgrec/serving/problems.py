"""Errors as RFC 9457 problem documents: what, value, allowed, remedy; never a stack trace."""

from __future__ import annotations

from typing import Any

import pydantic_core
from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import Response

from mmgrec_engine.errors import ArtifactError, EditError, MMGRecError

MEDIA_TYPE = "application/problem+json"
TITLES = {
    400: "Malformed request",
    401: "Token missing or wrong",
    403: "Edits are switched off",
    404: "Not found",
    405: "Method not allowed",
    408: "The request arrived too slowly",
    409: "Conflict",
    413: "Body too large",
    422: "Request refused",
    429: "Queue full",
    500: "Internal error",
    503: "Not ready",
    504: "Deadline missed",
}


class Problem(Exception):
    """An answer that is no success; raised anywhere below a route."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        value: object = None,
        allowed: str | None = None,
        remedy: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, headers
        self.more = {"value": value, "allowed": allowed, "remedy": remedy}


def not_found(error: MMGRecError, remedy: str | None = None) -> Problem:
    """Return the 404 of an id or a name that nobody knows."""
    return Problem(404, error.what, value=error.value, allowed=error.allowed, remedy=remedy)


class ProblemDocument(BaseModel):
    """How every error is answered."""

    model_config = ConfigDict(title="Problem")

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    value: str | None = None
    allowed: str | None = None
    remedy: str | None = None
    request_id: str | None = None


def of_error(error: MMGRecError) -> Problem:
    """Return the problem that an engine's error is.

    ::

        request: 422;  edit that contradicts the catalogue, artifact that cannot be used: 409
    """
    status = 409 if isinstance(error, EditError | ArtifactError) else 422
    return Problem(
        status, error.what, value=error.value, allowed=error.allowed, remedy=error.remedy
    )


def respond(request: Request, problem: Problem) -> Response:
    """Answer with a problem."""
    more = {name: _short(value) for name, value in problem.more.items() if value is not None}
    document: dict[str, Any] = {
        "type": "about:blank",
        "title": TITLES.get(problem.status, "Error"),
        "status": problem.status,
        "detail": problem.detail,
        **more,
        "request_id": request.scope.get("mmgrec_request_id"),
    }
    if request.url.path.startswith("/v2"):
        document["error"] = problem.detail  # where the Open Inference Protocol looks for it
    request.scope["mmgrec_problem"] = problem.detail
    content = pydantic_core.to_json(document)
    return Response(content, problem.status, problem.headers, media_type=MEDIA_TYPE)


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 500 else text[:500] + " ..."
