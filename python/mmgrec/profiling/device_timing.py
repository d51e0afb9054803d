"""Timing on a GPU: what a method takes when the host's launches are out of the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from mmgrec.profiling.cases import Case

CALLS = 20
"""Calls of a captured method that are replayed at once: a launch of the graph takes microseconds,
as a short kernel does."""


def captured(method: Callable[[], object], calls: int = CALLS) -> Callable[[], object]:
    """Return the replay of so many calls, captured once in a CUDA graph.

    The method must not wait for the device; its inputs stay where they are.
    """
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(2):  # compiles, and fills what libraries keep
            method()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(calls):
            method()
    return graph.replay


def on_device(case: Case, *, queued: tuple[str, ...] = ()) -> Case:
    """Return a case whose methods are replays of `CALLS` calls.

    Parameters
    ----------
    case : Case
        Methods that work on the GPU.
    queued : tuple of str
        Methods that wait for the device and cannot be captured; they are called as often.
    """

    def replay(name: str, method: Callable[[], object]) -> Callable[[], object]:
        if name not in queued:
            return captured(method)

        def call() -> None:
            for _ in range(CALLS):
                method()

        return call

    return replace(
        case,
        ours={name: replay(name, method) for name, method in case.ours.items()},
        baselines={name: replay(name, method) for name, method in case.baselines.items()},
        inner_calls=CALLS,
    )
