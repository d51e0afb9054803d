"""Building a trie and keeping it, and whole searches over it.

Floor of a build: 16 bytes of codes read and some 6 written per item; what is left is the sort.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench_shared import benchmark_case, ids_of
from mmgrec.profiling.trie_keys import SIZES, codes_of, distinct_keys
from mmgrec.profiling.trie_search_cases import search_cases
from mmgrec_engine.catalog.trie import Trie, TrieBuilder

CASES = list(search_cases())
ITEMS = 1_000_000


def build() -> Trie:
    builder = TrieBuilder(SIZES)
    for keys in distinct_keys(ITEMS):
        builder.add(codes_of(keys))
    return builder.finish(threads=1)[0]


def test_build(benchmark: BenchmarkFixture) -> None:
    trie = benchmark(build)
    benchmark.extra_info.update(items=ITEMS, bytes=trie.num_bytes)


def test_open_and_verify(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    build().save(tmp_path / "trie.bin")
    benchmark(lambda: Trie.load(tmp_path / "trie.bin", verify=True))


@pytest.mark.parametrize("make", CASES, ids=ids_of(CASES))
@pytest.mark.parametrize("method", ["native", "op", "torch_csr"])
def test_search(benchmark: BenchmarkFixture, make: object, method: str) -> None:
    benchmark_case(benchmark, make, method)
