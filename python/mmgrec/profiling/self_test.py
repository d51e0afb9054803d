"""A few seconds of self-test: the folder format, the trie, and native against reference."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from mmgrec_engine.artifact import open_folder, write_folder
from mmgrec_engine.catalog.trie import Trie
from mmgrec_engine.ops.constrained_topk import Beams, constrained_topk
from mmgrec_engine.writers import read_arrays, write_arrays

TOLERANCE = 1e-4


def self_test() -> dict[str, str]:
    """Return "ok" or what failed, per test."""
    tests: dict[str, Callable[[], None]] = {
        "folder round trip": _folder,
        "trie lookup": _trie,
        "constrained_topk native = reference": _step,
    }
    return {name: _outcome(test) for name, test in tests.items()}


def _outcome(test: Callable[[], None]) -> str:
    try:
        test()
    except Exception as error:  # a doctor reports every ailment
        return f"failed: {type(error).__name__}: {error}"
    return "ok"


def _folder() -> None:
    values = np.arange(6, dtype=np.float32)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "test"
        write_folder(path, "test", {}, {"a.safetensors": write_arrays({"a": values})})
        read = read_arrays(open_folder(path, "test").file("a.safetensors"))["a"]
    if not np.array_equal(read, values):
        raise AssertionError("what was read differs from what was written")


def _small_trie() -> tuple[Trie, np.ndarray]:
    rng = np.random.default_rng(0)
    codes = np.unique(rng.integers(0, 16, (500, 3), dtype=np.int32), axis=0)
    return Trie.build(codes, [16, 16, 16])[0], codes


def _trie() -> None:
    trie, codes = _small_trie()
    if not np.array_equal(trie.lookup(codes), np.arange(len(codes))):
        raise AssertionError("a Rec-ID is not found at its rank")


def _step() -> None:
    trie, _ = _small_trie()
    torch.manual_seed(0)
    root = torch.zeros(4, 1, dtype=torch.int64)
    beams = Beams(root, root + trie.num_items, torch.zeros(4, 1))
    logits = torch.randn(4, 1, 16)
    steps = [
        constrained_topk(trie, 0, beams, logits, 5, backend=b) for b in ("native", "reference")
    ]
    if not torch.equal(steps[0].lo, steps[1].lo):
        raise AssertionError("native and reference keep different beams")
    if not torch.allclose(steps[0].scores, steps[1].scores, atol=TOLERANCE):
        raise AssertionError("native and reference scores differ")
