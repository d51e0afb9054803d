"""Requests from many threads while edits go on: every answer is one of a version of the items."""

from __future__ import annotations

import shutil
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from mmgrec_engine.engine import Engine
from mmgrec_engine.requests import Recommendations

ODD, EVEN = ["i03", "i07", "i11", "i15"], ["i02", "i06", "i10", "i14"]

REQUESTS: list[dict[str, Any]] = [
    {"histories": [ODD], "k": 5},
    {"histories": [ODD, EVEN, ["i00"]], "k": 10, "beam_width": 20},
    {"histories": [EVEN], "k": 3, "exact": True},
    {"histories": [ODD, ["i39"]], "k": 6, "where": "some and not few"},
    {"histories": [["i20", "i21"]] * 9, "k": 4, "deny": ["i01"], "exclude_seen": False},
    {"histories": [EVEN], "k": 50, "allow": [f"i{i:02d}" for i in range(1, 40, 3)]},
    {"histories": [["i05"], ODD + EVEN], "k": 8, "exact": True, "exact_limit": 3},
]
VERSIONS = 13


def edit(engine: Engine, version: int) -> None:
    """Make a version of the one before."""
    vectors = np.random.default_rng(version).normal(size=(2, 16)).astype(np.float32)
    if version % 4 == 1:
        engine.insert([f"n{version}", f"m{version}"], vectors=vectors)
    elif version % 4 == 2:
        engine.delete([f"n{version - 1}", f"i{version + 21}"])
    elif version % 4 == 3:
        engine.replace([f"m{version - 2}", f"i{version + 13}"], vectors=vectors)
    else:
        engine.compact()


def copy(run_folder: Path, to: Path) -> Engine:
    shutil.copytree(run_folder, to, ignore=shutil.ignore_patterns("training", "tokenizer"))
    engine = Engine.load(to)
    engine.set_filter("some", [f"i{i:02d}" for i in range(0, 40, 2)])
    engine.set_filter("few", ["i04", "i08"])
    return engine


def same(found: Recommendations, expected: Recommendations) -> bool:
    return (
        found.items.tolist() == expected.items.tolist()
        and np.allclose(found.scores, expected.scores, atol=1e-5)
        and (found.certified == expected.certified).all()
    )


class Editor:
    """Edits from version to version; ``begun`` and ``done`` bound the one that a request sees."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.begun, self.done = engine, 0, 0

    def run(self, counts: list[int], failures: list[object]) -> None:
        """Make all versions, each once some more requests were answered."""
        for version in range(1, VERSIONS):
            goal = sum(counts) + 10
            while sum(counts) < goal and not failures:
                time.sleep(0.001)
            self.begun = version
            edit(self.engine, version)
            self.done = version


def test_answers_are_those_of_one_thread(run_folder: Path, tmp_path: Path) -> None:
    serial = copy(run_folder, tmp_path / "serial")
    expected = []
    for version in range(VERSIONS):
        if version:
            edit(serial, version)
        expected.append([serial.recommend(**request) for request in REQUESTS])
    serial.close()
    changes = [
        sum(not same(a, b) for a, b in zip(*pair, strict=True)) for pair in pairwise(expected)
    ]
    assert sum(changes) > VERSIONS  # versions can be told apart

    editor = Editor(copy(run_folder, tmp_path / "shared"))
    failures: list[object] = []
    counts = [0] * 8
    stop = threading.Event()

    def ask(thread: int) -> None:
        turn = thread
        while not stop.is_set():
            turn = (turn + 1) % len(REQUESTS)
            first = editor.done
            try:
                found = editor.engine.recommend(**REQUESTS[turn])
            except Exception as error:  # anything: a thread's end would go unseen
                failures.append(error)
                break
            possible = range(first, editor.begun + 1)
            if not any(same(found, expected[v][turn]) for v in possible):
                failures.append((turn, list(possible)))
            counts[thread] += 1

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    try:
        editor.run(counts, failures)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        editor.engine.close()
    assert failures == []
