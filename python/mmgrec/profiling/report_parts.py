"""The parts of `mmgrec bench all`: what of every bench fits into a quarter of an hour."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from mmgrec.profiling.bench_report import ops_rows
from mmgrec.profiling.bench_schema import Report, Row
from mmgrec.profiling.cases import Case
from mmgrec.profiling.engine_report import engine_rows
from mmgrec.profiling.roof import Roof
from mmgrec.profiling.serve_load import serve_rows
from mmgrec.profiling.serve_world import random_run
from mmgrec.profiling.trie_cases import DENIED, step_case
from mmgrec.profiling.trie_catalogues import SKEWS, random_catalogue
from mmgrec.profiling.trie_report import trie_rows

Tell = Callable[[str], None]
Part = Callable[[Tell], Iterator[Row]]
Served = tuple[Path, list[list[Any]]]
"""A run to serve, and histories of its items."""

TRIE_ITEMS = 10**7
STEP_USERS, STEP_WIDTHS = (1, 64), (10, 50)
GROWTH, REQUESTS = (10**4, 10**5, 10**6), (10**6,)
LOAD_SECONDS = 5.0


def parts_of(
    counts: tuple[int, ...], roof: Roof, report: Report, served: Served | None
) -> Mapping[str, Part]:
    """Return the parts by name, in order; the GPU's is there where a GPU is.

    Parameters
    ----------
    counts, roof
        Thread counts to time, and the processor's roofs.
    report : dict
        Gets the roofs of the GPU.
    served : tuple, optional
        What to serve; by default a random model.
    """
    import torch

    parts: dict[str, Part] = {
        "ops": partial(ops_rows, counts, roof),
        "trie": partial(_trie, counts, roof),
        "engine": partial(engine_rows, GROWTH, REQUESTS, counts, roof),
        "serve": partial(_serve, served),
    }
    if torch.cuda.is_available():
        parts["device"] = partial(_device, report)
    return parts


def brief_steps() -> Iterator[Callable[[], Case]]:
    """Yield the makers of the steps that say most; `bench trie` has the others.

    Even and skewed catalogues without filters, the even one with denied items.
    """
    kinds = [(kind, 0) for kind in SKEWS] + [("uniform", DENIED)]
    for users in STEP_USERS:
        for width in STEP_WIDTHS:
            for kind, denied in kinds:
                yield partial(step_case, kind, users, width, denied, "catalogue")


def _trie(counts: tuple[int, ...], roof: Roof, tell: Tell) -> Iterator[Row]:
    yield from trie_rows(TRIE_ITEMS, brief_steps(), counts, roof, tell)
    random_catalogue.cache_clear()  # its memory is the next part's


def _serve(served: Served | None, tell: Tell) -> Iterator[Row]:
    made: AbstractContextManager[Served] = random_run() if served is None else nullcontext(served)
    with made as (run, histories):
        yield from serve_rows(run, histories, LOAD_SECONDS, tell)


def _device(report: Report, tell: Tell) -> Iterator[Row]:
    from mmgrec.profiling.device_report import device_rows

    _, report["gpu_roof"], rows = device_rows(tell)
    yield from rows
