"""`linear_norm` and `feed_forward_norm` beside the same in torch, call by call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from mmgrec.profiling.cases import Case
from mmgrec_engine.ops.backends import choose
from mmgrec_engine.ops.feed_forward_norm import feed_forward_norm, feed_forward_norm_work
from mmgrec_engine.ops.linear_norm import linear_norm, linear_norm_work

WIDTH, INNER = 64, 256
ROWS = [50, 3200, 51200]
"""Beams of one user, of 64 and of 1,024 users."""

TOLERANCE = 1e-4


def linear_norm_cases(device: str = "cpu") -> Iterator[Callable[[], Case]]:
    """Yield the makers of all cases of `linear_norm`."""
    for rows in ROWS if device != "cpu" else ROWS[:2]:
        yield partial(_linear_norm, rows, device)


def feed_forward_norm_cases(device: str = "cpu") -> Iterator[Callable[[], Case]]:
    """Yield the makers of all cases of `feed_forward_norm`."""
    for rows in ROWS if device != "cpu" else ROWS[:2]:
        yield partial(_feed_forward_norm, rows, device)


def _draw(device: str, *shapes: tuple[int, ...]) -> list[Tensor]:
    g = torch.Generator().manual_seed(0)
    return [(torch.randn(s, generator=g) / s[-1] ** 0.5).to(device) for s in shapes]


def _linear_norm(rows: int, device: str) -> Case:
    shapes = ((rows, WIDTH), (rows, WIDTH), (WIDTH, WIDTH), (WIDTH,), (WIDTH,))
    x, residual, weight, gain, shift = _draw(device, *shapes)

    def run(backend: str) -> Tensor:
        return linear_norm(x, residual, weight, gain, shift, backend=backend)

    work = linear_norm_work(rows, WIDTH, WIDTH)
    shape = {"rows": rows, "N": WIDTH, "E": WIDTH}
    return Case("linear_norm", shape, *_methods("linear_norm", run, device), work, rows)


def _feed_forward_norm(rows: int, device: str) -> Case:
    shapes = ((rows, WIDTH), (INNER, WIDTH), (INNER,), (WIDTH, INNER), (WIDTH,), (WIDTH,), (WIDTH,))
    x, w_1, b_1, w_2, b_2, gain, shift = _draw(device, *shapes)

    def run(backend: str) -> Tensor:
        return feed_forward_norm(x, (w_1, b_1), (w_2, b_2), gain, shift, backend=backend)

    work = feed_forward_norm_work(rows, WIDTH, INNER)
    shape = {"rows": rows, "E": WIDTH, "F": INNER}
    return Case("feed_forward_norm", shape, *_methods("feed_forward_norm", run, device), work, rows)


Methods = dict[str, Callable[[], object]]


def _methods(
    op: str, run: Callable[[str], Tensor], device: str
) -> tuple[Methods, Methods, Callable[[], None]]:
    """Return our methods, the baselines and their comparison."""
    backend = choose(op, device=device)

    def check() -> None:
        torch.testing.assert_close(run(backend), run("reference"), atol=TOLERANCE, rtol=TOLERANCE)

    return {backend: partial(run, backend)}, {"torch": partial(run, "reference")}, check
