"""`mmgrec bench trie`: everything about the catalogue's index, in one run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mmgrec.profiling.cases import case_rows
from mmgrec.profiling.environment import machine
from mmgrec.profiling.roof import begin_bench
from mmgrec.profiling.trie_build_cases import build_rows
from mmgrec.profiling.trie_cases import step_cases
from mmgrec.profiling.trie_edit_cases import edit_rows
from mmgrec.profiling.trie_search_cases import search_cases


def bench_trie(largest: int, tell: Callable[[str], None]) -> dict[str, Any]:
    """Benchmark building, memory, steps, searches, filters and edits.

    Parameters
    ----------
    largest : int
        Items of the largest catalogue that is built; steps, searches and edits have 10^6.
    tell : callable
        Gets the name of each case before it runs.

    Returns
    -------
    dict
        ``machine``, ``roof`` and ``rows``.
    """
    counts, roof = begin_bench(tell)
    rows = [
        *build_rows(largest, counts, roof, tell),
        *case_rows([*step_cases(), *search_cases()], counts, roof, tell),
        *edit_rows(tell),
    ]
    return {"machine": machine(), "roof": roof.as_json(), "rows": rows}
