"""Which backends every op has, which of them run here, and the one choice made per engine."""

from __future__ import annotations

from dataclasses import dataclass

from mmgrec_engine.errors import BackendError
from mmgrec_engine.settings import settings

BACKENDS = ("native", "triton", "cuda", "reference")
"""All names, best first; `reference` runs everywhere."""

OPS: dict[str, tuple[str, ...]] = {
    "relation_attention": ("reference",),
    "rq_assign": ("reference",),
    "constrained_topk": ("native", "reference"),
    "cross_attention_beams": ("reference",),
}
"""The implementations that exist, best first."""


@dataclass(frozen=True)
class Availability:
    """Whether a backend of an op runs here; ``reason`` says why not."""

    op: str
    backend: str
    available: bool
    reason: str


def availability(op: str) -> list[Availability]:
    """Say for every backend whether this op has it here, and if not, why."""
    return [_check(op, backend) for backend in BACKENDS]


def choose(op: str, requested: str | None = None) -> str:
    """Choose the backend of an op; called once, when an engine is built.

    ::

        name = requested, else MMGREC_BACKEND, else the best that runs here
        an op that lacks the backend which MMGREC_BACKEND forces keeps its best one

    Parameters
    ----------
    op : str
        An op of `OPS`.
    requested : str, optional
        A backend name.

    Raises
    ------
    BackendError
        The name is unknown, or the op cannot run on it here.
    """
    forced = settings().backend
    name = requested or forced
    if name is None:
        return next(b for b in OPS[op] if _check(op, b).available)
    if name not in BACKENDS:
        raise BackendError("unknown backend", value=name, allowed=", ".join(BACKENDS))
    found = _check(op, name)
    if found.available:
        return name
    if requested is None and name not in OPS[op]:
        return next(b for b in OPS[op] if _check(op, b).available)
    usable = ", ".join(a.backend for a in availability(op) if a.available)
    raise BackendError(f"{op} cannot run on {name!r}: {found.reason}", allowed=usable)


def _check(op: str, backend: str) -> Availability:
    if backend not in OPS[op]:
        return Availability(op, backend, False, "not written yet")
    return Availability(op, backend, True, "")
