"""Who asked: a request's id and its place in a trace (W3C Trace Context)."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass

_SANE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


def request_id(given: str | None) -> str:
    """Return the caller's id where it is harmless in a log, else a new one."""
    return given if given and _SANE_ID.fullmatch(given) else secrets.token_hex(8)


@dataclass(frozen=True)
class Span:
    """Our part of a trace; ``parent`` is the caller's span, None where we begin the trace."""

    trace: str
    span: str
    parent: str | None
    flags: str

    @classmethod
    def of(cls, traceparent: str | None) -> Span:
        """Go on with the caller's trace, or begin one where the header is missing or wrong."""
        found = _TRACEPARENT.fullmatch(traceparent or "")
        span = secrets.token_hex(8)
        if found is None:
            return cls(secrets.token_hex(16), span, None, "00")
        version, trace, parent, flags, more = found.groups()
        unknown = version == "ff" or (version == "00" and more is not None)
        if unknown or set(trace) == {"0"} or set(parent) == {"0"}:
            return cls(secrets.token_hex(16), span, None, "00")
        return cls(trace, span, parent, flags)

    @property
    def header(self) -> str:
        """The traceparent of whatever we call, and of the answer."""
        return f"00-{self.trace}-{self.span}-{self.flags}"
