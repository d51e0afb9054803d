"""`constrained_topk` on a GPU against the reference; what needs none is tested everywhere."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch

from mmgrec_engine import _native
from mmgrec_engine.catalog.nodes import NodeVectors
from mmgrec_engine.catalog.trie import Trie
from mmgrec_engine.errors import ConfigError
from mmgrec_engine.ops.backends import availability
from mmgrec_engine.ops.constrained_topk import Beams, BeamStep, Nodes, constrained_topk
from mmgrec_engine.ops.constrained_topk_cuda import cuda_step
from tests_shared import CATALOGUES, make_trie

PROBLEM = next(a.reason for a in availability("constrained_topk", "cuda") if a.backend == "cuda")
needs_gpu = pytest.mark.skipif(bool(PROBLEM), reason=PROBLEM)

Normalise = Literal["catalogue", "full"]
LARGE = {"large": ([256, 256, 64], 200_000, 1.5)}


def root(trie: Trie, users: int) -> Beams:
    zero = torch.zeros(users, 1, dtype=torch.int64)
    return Beams(zero, zero + trie.num_items, torch.zeros(users, 1))


def on_gpu(beams: Beams) -> Beams:
    return Beams(beams.lo.cuda(), beams.hi.cuda(), beams.scores.cuda())


def assert_same(ours: BeamStep, expected: BeamStep) -> None:
    torch.testing.assert_close(ours.scores.cpu(), expected.scores, atol=1e-4, rtol=1e-5)
    for name in ("parents", "tokens", "lo", "hi"):
        assert torch.equal(getattr(ours, name).cpu(), getattr(expected, name)), name
    torch.testing.assert_close(ours.best_pruned.cpu(), expected.best_pruned, atol=1e-4, rtol=1e-5)


@needs_gpu
@pytest.mark.parametrize("catalogue", [*CATALOGUES, *LARGE])
@pytest.mark.parametrize("normalise", ["catalogue", "full"])
@pytest.mark.parametrize(("width", "with_nodes"), [(1, False), (7, True), (70, False), (512, True)])
def test_cuda_equals_native(
    catalogue: str, normalise: Normalise, width: int, with_nodes: bool
) -> None:
    trie = make_trie(*{**CATALOGUES, **LARGE}[catalogue])
    torch.manual_seed(0)
    vectors = np.random.default_rng(0).normal(size=(trie.num_items, 5)).astype(np.float32)
    tables = NodeVectors.of(trie.codes(), vectors)
    beams = root(trie, 3)
    for level in range(trie.num_levels):
        logits = torch.randn(*beams.lo.shape, trie.level_sizes[level])
        nodes = gpu_nodes = None
        if with_nodes:
            query = torch.randn(*beams.lo.shape, 5)
            nodes = Nodes.of(query, tables, level)
            gpu_nodes = Nodes(query.cuda(), nodes.vectors.cuda(), nodes.starts.cuda())
        expected = constrained_topk(
            trie, level, beams, logits, width, nodes=nodes, normalise=normalise
        )
        found = constrained_topk(
            trie,
            level,
            on_gpu(beams),
            logits.cuda(),
            width,
            nodes=gpu_nodes,
            normalise=normalise,
            backend="cuda",
        )
        assert_same(found, expected)
        beams = Beams(expected.lo, expected.hi, expected.scores)


@needs_gpu
def test_ties_no_users_and_strided_logits() -> None:
    trie = make_trie([6, 6], 30, 1.0)
    step = constrained_topk(
        trie, 0, on_gpu(root(trie, 1)), torch.zeros(1, 1, 6).cuda(), 3, backend="cuda"
    )
    assert step.tokens[0].tolist() == [0, 1, 2]
    nobody = constrained_topk(
        trie, 0, on_gpu(root(trie, 0)), torch.zeros(0, 1, 6).cuda(), 3, backend="cuda"
    )
    assert nobody.lo.shape == (0, 3)
    logits = torch.randn(4, 1, 12)[:, :, ::2]
    assert_same(
        constrained_topk(trie, 0, on_gpu(root(trie, 4)), logits.cuda(), 5, backend="cuda"),
        constrained_topk(trie, 0, root(trie, 4), logits, 5),
    )


@needs_gpu
def test_a_step_waits_for_nothing_and_can_be_captured() -> None:
    trie = make_trie([16, 16, 16], 300, 1.0)
    beams, logits = on_gpu(root(trie, 3)), torch.randn(3, 1, 16).cuda()
    cuda_step(trie, 0, beams, logits, 5)  # copies the catalogue
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step = cuda_step(trie, 0, beams, logits, 5)
    torch.cuda.set_sync_debug_mode("error")
    try:
        logits.copy_(torch.randn(3, 1, 16, device="cuda"))
        graph.replay()
        cuda_step(trie, 0, beams, logits, 5)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert_same(step, constrained_topk(trie, 0, root(trie, 3), logits.cpu(), 5))


@needs_gpu
def test_bad_input_is_in_the_status() -> None:
    trie = make_trie([4, 4], 16, 1.0)
    beams, logits = on_gpu(root(trie, 3)), torch.zeros(3, 1, 4).cuda()
    logits[0, 0, 0] = float("nan")
    beams.hi[1] = trie.num_items + 1
    status = torch.full((3,), -1, dtype=torch.int32).cuda()
    step = cuda_step(trie, 0, beams, logits, 2, status=status)
    assert status.tolist() == [1, 2, 0]
    assert (step.scores[1] == float("-inf")).all()
    assert 0 not in step.tokens[0].tolist()
    with pytest.raises(ConfigError, match="do not fit together"):
        cuda_step(trie, 0, beams, logits[:, :, :3], 2)
    with pytest.raises(ConfigError, match="no room"):
        cuda_step(trie, 0, beams, logits, 8160)


def test_what_the_backend_cannot_take_is_named() -> None:
    trie = make_trie([4, 4], 16, 1.0)
    logits = torch.zeros(1, 1, 4)
    with pytest.raises(ConfigError, match="tensors on one CUDA device"):
        constrained_topk(trie, 0, root(trie, 1), logits, 2, backend="cuda")


def test_a_block_has_room_for_what_is_documented() -> None:
    for beams, keep in ((1, 10), (50, 50), (512, 512), (8192, 8159)):
        warps, shared = _native.constrained_topk_block(beams, keep)
        assert warps > 0
        assert shared <= 163 * 1024
    assert _native.constrained_topk_block(50, 8160)[0] == 0
