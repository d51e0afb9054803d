"""`mmgrec bench trie`: everything about the catalogue's index, in one run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from mmgrec.profiling.bench_schema import Report, Row, make_report
from mmgrec.profiling.cases import Case, case_rows
from mmgrec.profiling.roof import Roof, begin_bench
from mmgrec.profiling.trie_build_cases import build_rows
from mmgrec.profiling.trie_cases import step_cases
from mmgrec.profiling.trie_edit_cases import edit_rows
from mmgrec.profiling.trie_search_cases import search_cases


def bench_trie(largest: int, tell: Callable[[str], None]) -> Report:
    """Benchmark building, memory, steps, searches, filters and edits.

    Parameters
    ----------
    largest : int
        Items of the largest catalogue that is built; steps, searches and edits have 10^6.
    tell : callable
        Gets the name of each case before it runs.
    """
    counts, roof = begin_bench(tell)
    return make_report(roof.as_json(), trie_rows(largest, step_cases(), counts, roof, tell))


def trie_rows(
    largest: int,
    steps: Iterable[Callable[[], Case]],
    counts: tuple[int, ...],
    roof: Roof,
    tell: Callable[[str], None],
) -> Iterator[Row]:
    """Yield the rows of all that, with these steps."""
    yield from build_rows(largest, counts, roof, tell)
    yield from case_rows([*steps, *search_cases()], counts, roof, tell)
    yield from edit_rows(tell)
