"""A process that builds one trie and nothing else, so that its peak memory is the builder's.

It imports NumPy and the C++ core, no torch; `mmgrec.profiling.trie_build_cases` starts it.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmgrec.profiling.trie_keys import SIZES, codes_of, distinct_keys
from mmgrec_engine import _native


def main(items: int, threads: int, rounds: int, path: str) -> None:
    """Build, save the trie, and print seconds and bytes as JSON.

    ::

        every round: make a batch of codes (not timed), add it, ...; finish
        peak: after the first round, whose memory is all fresh
    """
    idle, peak = _peak_bytes(), 0
    add, finish = [], []
    for _ in range(rounds):
        added, finished, trie = _build(items, threads)
        add.append(added)
        finish.append(finished)
        peak = peak or _peak_bytes()
    trie.save(path, threads)
    json.dump(
        {
            "add_s": add,
            "finish_s": finish,
            "idle_rss_bytes": idle,
            "peak_rss_bytes": peak,
            "trie_bytes": trie.num_bytes,
        },
        sys.stdout,
    )


def _build(items: int, threads: int) -> tuple[float, float, _native.Trie]:
    builder, seconds = _native.TrieBuilder(SIZES), 0.0
    for keys in distinct_keys(items):
        codes = codes_of(keys)
        seconds += _add(builder, codes)
    start = time.perf_counter()
    trie, _ = builder.finish(threads, None)
    return seconds, time.perf_counter() - start, trie


def _add(builder: _native.TrieBuilder, codes: NDArray[np.int32]) -> float:
    start = time.perf_counter()
    builder.add(codes)
    return time.perf_counter() - start


def _peak_bytes() -> int:
    """Return the most memory this process had so far.

    Not from getrusage where the kernel says it better: there a child starts with its parent's peak.
    """
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024
        return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return 1024 * int(line.split()[1])


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
