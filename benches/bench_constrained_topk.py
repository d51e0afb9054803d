"""The native step beside a plain torch step over a CSR trie, in one run.

Floor: a step reads M x K logits and the children's tokens and writes W beams; at B = 1, M = 10 that
is 10 KB, well inside the first-level cache, so what is left is the log-sum-exp of the children.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from mmgrec_engine.catalog.prefixes import PrefixTable
from mmgrec_engine.catalog.trie import Trie
from mmgrec_engine.ops.constrained_topk import Beams, constrained_topk

ITEMS, SIZES, LEVEL = 1_000_000, [256, 256, 256, 256], 2
CASES = [(1, 10), (64, 50)]
SKEWS = {"uniform": 1.0, "skewed": 3.0}


class Case:
    """Beams on level 2 of a random catalogue, and the catalogue as trie and as CSR."""

    def __init__(self, skew: float, users: int, beams: int) -> None:
        rng = np.random.default_rng(0)
        draw = (rng.random((ITEMS, len(SIZES))) ** skew * 256).astype(np.int32)
        codes = np.unique(draw, axis=0)
        self.trie, _ = Trie.build(codes, SIZES)
        table = PrefixTable.of(codes)
        self.first_child = torch.from_numpy(table.levels[LEVEL - 1].first_child)
        self.child_tokens = torch.from_numpy(table.levels[LEVEL].tokens.astype(np.int64))
        starts = torch.from_numpy(table.levels[LEVEL - 1].starts)
        self.nodes = torch.from_numpy(rng.integers(0, len(starts) - 1, (users, beams)))
        lo, hi = starts[self.nodes], starts[self.nodes + 1]
        self.beams = Beams(lo, hi, torch.randn(users, beams).sort(1, descending=True).values)
        self.logits = torch.randn(users, beams, SIZES[LEVEL])
        self.width = beams

    def native(self) -> Tensor:
        """Our step."""
        return constrained_topk(self.trie, LEVEL, self.beams, self.logits, self.width).scores

    def torch_csr(self) -> Tensor:
        """Gather the padded children of every beam, mask, log-softmax, top-k."""
        first = self.first_child[self.nodes]
        count = self.first_child[self.nodes + 1] - first
        column = torch.arange(int(count.max()))
        valid = column < count[..., None]
        node = (first[..., None] + column).clamp_max(len(self.child_tokens) - 1)
        logits = self.logits.gather(2, self.child_tokens[node])
        log_probs = logits.masked_fill(~valid, float("-inf")).log_softmax(2)
        scores = (self.beams.scores[..., None] + log_probs).flatten(1)
        return scores.topk(min(self.width, scores.shape[1]), dim=1).values


@pytest.mark.parametrize("skew", SKEWS)
@pytest.mark.parametrize(("users", "beams"), CASES, ids=lambda n: str(n))
@pytest.mark.parametrize("method", ["native", "torch_csr"])
def test_step(benchmark: BenchmarkFixture, skew: str, users: int, beams: int, method: str) -> None:
    torch.set_num_threads(1)
    case = Case(SKEWS[skew], users, beams)
    run: Callable[[], Tensor] = getattr(case, method)
    torch.testing.assert_close(case.native(), case.torch_csr(), atol=1e-4, rtol=1e-4)
    benchmark.group = f"B{users} M{beams} {skew}"
    benchmark.extra_info.update(items=case.trie.num_items, bytes=case.logits.nbytes)
    benchmark.pedantic(run, rounds=200 if users == 1 else 30, iterations=1, warmup_rounds=5)
