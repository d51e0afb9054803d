"""How workers that load a model leave the processors to those who are answered meanwhile."""

from __future__ import annotations

import asyncio
import fcntl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

MOST_SECONDS = 60.0
"""After which nobody waits for another worker any more: it may hang."""
_LOOK_SECONDS = 0.02

PAUSE_SHARE = 3.0
"""Of a step's processor time, how long the pause after it is: so much is left to others."""
_LONGEST_PAUSE = 1.0


@asynccontextmanager
async def turn(path: Path | None, most_seconds: float = MOST_SECONDS) -> AsyncIterator[bool]:
    """Wait until no other process has its turn; yield whether that is so.

    ::

        a lock on a file, which ends with the process that has it;  no file: nobody else is there
    """
    if path is None:
        yield True
        return
    with path.open("ab") as file:
        end = time.monotonic() + most_seconds
        while not (mine := _locked(file.fileno())) and time.monotonic() < end:
            await asyncio.sleep(_LOOK_SECONDS)
        yield mine


class Pauses:
    """Called between the steps of some work, it rests in proportion to what the last step took.

    A step holds Python's lock for as long as it computes, and a core: requests queue up behind it.
    In the pause they are answered, so that the queue is that of one step and not of all.
    """

    def __init__(self) -> None:
        self._begin = time.thread_time()

    def __call__(self) -> None:
        """Rest."""
        spent = time.thread_time() - self._begin
        time.sleep(min(PAUSE_SHARE * spent, _LONGEST_PAUSE))
        self._begin = time.thread_time()


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
