"""Building, keeping, opening and checking tries of up to 10^8 items."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mmgrec.profiling.roof import Roof
from mmgrec.profiling.timing import measure, threads
from mmgrec.profiling.trie_csr import csr_bytes
from mmgrec.profiling.trie_keys import SIZES, nodes_per_level
from mmgrec_engine.catalog.trie import Trie
from mmgrec_engine.errors import MMGRecError

SMALLEST = 10_000
ITEMS_PER_CASE = 30_000_000
MOST_ROUNDS = 7


def ladder(largest: int) -> list[int]:
    """Return the numbers of items: powers of ten from 10^4, and the largest."""
    steps, items = [], SMALLEST
    while items < largest:
        steps.append(items)
        items *= 10
    return [*steps, largest]


def build_rows(
    largest: int, counts: tuple[int, ...], roof: Roof, tell: Callable[[str], None]
) -> Iterator[dict[str, Any]]:
    """Yield the rows `trie_build` and `trie_memory`.

    ::

        N = 10^4, 10^5, ... largest: for every thread count a process that builds and saves a trie
        its file: open and verify it;  its size beside two compressed-sparse-row tries
    """
    for items in ladder(largest):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "trie.bin"
            for count in counts:
                tell(f"trie_build N={items:,} threads={count}")
                yield _build_row(items, count, roof, build_once(items, count, path))
            tell(f"trie_memory N={items:,}")
            yield from _memory_rows(items, path)


def build_once(items: int, count: int, path: Path) -> dict[str, Any]:
    """Build in a process of its own; return what `trie_build_process` measured.

    Raises
    ------
    MMGRecError
        The process failed.
    """
    rounds = int(np.clip(ITEMS_PER_CASE // items, 1, MOST_ROUNDS))
    words = [*map(str, (items, count, rounds)), str(path)]
    # -P: what lies in the folder that somebody works in is not what is to be measured.
    command = [sys.executable, "-P", "-m", "mmgrec.profiling.trie_build_process", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise MMGRecError(
            f"a process could not build a trie of {items:,} items",
            value=(done.stderr.splitlines() or [f"exit status {done.returncode}"])[-1],
            remedy="give --largest what fits into memory",
        )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _build_row(items: int, count: int, roof: Roof, found: dict[str, Any]) -> dict[str, Any]:
    """Lay out a build.

    ::

        bytes: 16 of codes read and 4 of order written per item, and the trie written

    Sorting moves more, so the share of the roof is out of reach.
    """
    add, finish = np.array(found["add_s"]), np.array(found["finish_s"])
    median = float(np.median(add + finish))
    moved = (4 * len(SIZES) + 4) * items + found["trie_bytes"]
    return {
        "bench": "trie_build",
        "case": _case(items),
        "backend": "native",
        "threads": count,
        "median_s": median,
        "rounds": len(add),
        "items_per_s": items / median,
        "add_s": float(np.median(add)),
        "finish_s": float(np.median(finish)),
        "peak_rss_bytes": found["peak_rss_bytes"],
        "idle_rss_bytes": found["idle_rss_bytes"],
        "bytes": moved,
        "roof_share": moved / roof.bytes_per_s[count] / median,
    }


def _memory_rows(items: int, path: Path) -> Iterator[dict[str, Any]]:
    trie = Trie.load(path, verify=True)
    nodes = nodes_per_level(items)
    sizes = {
        "native": trie.num_bytes,
        "csr_int32": csr_bytes(nodes, 4),
        "csr_int64": csr_bytes(nodes, 8),
    }
    with threads(1):
        found = measure({"open": lambda: Trie.load(path), "verify": trie.verify})
    for name, size in sizes.items():
        row = {
            "bench": "trie_memory",
            "case": _case(items) | {"nodes": nodes},
            "backend": name,
            "bytes": size,
            "bytes_per_item": size / items,
            "baseline": "csr_int32",
            "baseline_bytes": sizes["csr_int32"],
            "ratio": sizes["csr_int32"] / size,
        }
        if name == "native":
            row["file_bytes"] = path.stat().st_size
            row |= {"open_s": found["open"].median, "verify_s": found["verify"].median}
        yield row


def _case(items: int) -> dict[str, Any]:
    return {"N": items, "level_sizes": SIZES}
