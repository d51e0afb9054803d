"""What `mmgrec serve` was asked for: plain values that travel to the worker processes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

FAILED_TO_LOAD = 3
"""Exit code of a worker whose first model could not be loaded."""


@dataclass(frozen=True)
class Limits:
    """What one request may ask for; beyond it the answer is 413 or 422.

    ``body_seconds``: within which a body, and the head of a request, has to arrive.
    """

    body_bytes: int = 8 << 20
    body_seconds: float = 10.0
    histories: int = 256
    history_items: int = 10_000
    k: int = 1_000
    beam_width: int = 1_000
    exact_limit: int = 100_000
    deadline_ms: float = 60_000.0
    edited_items: int = 10_000


@dataclass(frozen=True)
class ServeOptions:
    """A server.

    ``threads``: of one native call (None: processors / workers). ``batch_users``: users of one
    call. ``batch_wait_ms``: how long a request may wait for company while nothing is computed.
    ``queued_users``: beyond them 429. ``deadline_ms``: of requests that name none. ``token``: None
    switches edits and reloads off. ``follow_seconds``: between two looks at the artifact, edits
    and filters on disk. ``page``: the page at /, which shows users' histories to whoever asks.
    ``posters``: a folder of images ``ITEM.jpg`` (or png, webp) for it. ``filters``: the folder of
    the named filters, by default in the folder that ``run`` leads to when a worker starts.
    """

    run: Path
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    threads: int | None = None
    precision: str = "fp32"
    model_name: str = "mmgrec"
    token: str | None = None
    batch_users: int = 64
    batch_wait_ms: float = 0.0
    queued_users: int = 1_024
    deadline_ms: float = 1_000.0
    drain_seconds: float = 30.0
    follow_seconds: float = 0.5
    max_connections: int = 1_000
    access_log: bool = True
    page: bool = True
    posters: Path | None = None
    filters: Path | None = None
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class Worker:
    """Which of the server's processes this is; worker 0 makes the edits of all.

    ``editor_socket``: where worker 0 takes edits from the others; None where there is one worker.
    """

    number: int = 0
    editor_socket: str | None = None

    @property
    def is_editor(self) -> bool:
        """Whether edits are made here."""
        return self.number == 0

    @property
    def turns(self) -> Path | None:
        """The file whose lock lets one worker at a time load; None where there is one worker."""
        return None if self.editor_socket is None else Path(f"{self.editor_socket}.turns")


def filters_of(run: Path) -> Path:
    """Return the folder of a run's named filters, links resolved."""
    return run.resolve() / "filters"
