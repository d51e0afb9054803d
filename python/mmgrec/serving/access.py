"""Who may change things: bearers of the token."""

from __future__ import annotations

import hmac

from starlette.requests import Request

from mmgrec.serving.problems import Problem


def check_token(request: Request, token: str | None) -> None:
    """Let the request pass where it carries the token.

    Raises
    ------
    Problem
        403 where the server has no token and so takes no edits, 401 where the request has not its.
    """
    if token is None:
        raise Problem(
            403,
            "this server takes no edits",
            remedy="start it with MMGREC_SERVE_TOKEN or --token-file",
        )
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    same = hmac.compare_digest(given.strip().encode(), token.encode())
    if scheme.lower() != "bearer" or not same:
        raise Problem(
            401,
            "the token is missing or wrong",
            remedy="send the header Authorization: Bearer TOKEN",
            headers={"www-authenticate": "Bearer"},
        )
