"""Building a trie and keeping it, and whole searches over it.

Floor of a build: 16 bytes of codes read and some 6 written per item; what is left is the sort.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench_shared import THREADS, benchmark_case, ids_of
from mmgrec.profiling.report_parts import TRIE_ITEMS
from mmgrec.profiling.trie_build_cases import ladder
from mmgrec.profiling.trie_keys import SIZES, codes_of, distinct_keys
from mmgrec.profiling.trie_search_cases import search_cases
from mmgrec_engine.catalog.trie import Trie, TrieBuilder

CASES = list(search_cases())
SIZES_OF_CATALOGUES = ladder(TRIE_ITEMS)


def build(items: int, count: int) -> Trie:
    builder = TrieBuilder(SIZES)
    for keys in distinct_keys(items):
        builder.add(codes_of(keys))
    return builder.finish(threads=count)[0]


@pytest.mark.parametrize("count", THREADS)
@pytest.mark.parametrize("items", SIZES_OF_CATALOGUES)
def test_build(benchmark: BenchmarkFixture, items: int, count: int) -> None:
    trie = benchmark(build, items, count)
    benchmark.extra_info.update(bench="trie_build", items=items, bytes=trie.num_bytes)


@pytest.mark.parametrize("items", SIZES_OF_CATALOGUES)
def test_open_and_verify(benchmark: BenchmarkFixture, tmp_path: Path, items: int) -> None:
    build(items, 1).save(tmp_path / "trie.bin")
    benchmark(lambda: Trie.load(tmp_path / "trie.bin", verify=True))


@pytest.mark.parametrize("method", ["native", "op", "torch_csr"])
@pytest.mark.parametrize("count", THREADS)
@pytest.mark.parametrize("make", CASES, ids=ids_of(CASES))
def test_search(benchmark: BenchmarkFixture, make: object, count: int, method: str) -> None:
    benchmark_case(benchmark, make, method, count)
