"""`constrained_topk`: native against reference, over catalogues and filters that hurt."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgrec_engine.catalog.filters import NamedSet, RankFilter
from mmgrec_engine.catalog.leaf_sets import LeafSet
from mmgrec_engine.catalog.nodes import NodeVectors
from mmgrec_engine.catalog.trie import Trie
from mmgrec_engine.errors import BackendError, ConfigError
from mmgrec_engine.ops.constrained_topk import Beams, BeamStep, Nodes, constrained_topk
from tests_shared import CATALOGUES, make_trie

TOLERANCE = 1e-4
"""The reference sums in float64, the native step in float32 with a float64 accumulator."""

Normalise = Literal["catalogue", "full"]


def random_filters(
    trie: Trie, users: int, rng: np.random.Generator, kind: str
) -> RankFilter | None:
    n = trie.num_items
    if kind == "none":
        return None
    deny = [rng.integers(0, n, int(rng.integers(0, n + 1))) for _ in range(users)]
    if kind == "all denied":
        deny = [np.arange(n) for _ in range(users)]
    deny_all = rng.integers(0, n, n // 4) if rng.random() < 0.5 else None
    allow = None
    if kind == "allow":
        allow = [rng.integers(0, n, 1 + n // 3) if u % 2 else None for u in range(users)]
    if kind == "named":
        sets = tuple(
            NamedSet(LeafSet.of(rng.integers(0, n, size), n), LeafSet.all(0))
            for size in (0, 1 + n // 5, 3 * n)
        )
        lists = RankFilter.from_lists(deny, None, n, deny_all=deny_all)
        chosen = np.array([u % 4 - 1 for u in range(users)], np.int32)
        allow = [None if u % 2 else rng.integers(0, n, n) for u in range(users)]
        with_allow = RankFilter.from_lists(deny, allow, n, deny_all=deny_all)
        return replace(lists if rng.random() < 0.5 else with_allow, sets=sets, set_of_user=chosen)
    return RankFilter.from_lists(deny, allow, n, deny_all=deny_all)


def assert_same(ours: BeamStep, reference: BeamStep) -> None:
    torch.testing.assert_close(ours.scores, reference.scores, atol=TOLERANCE, rtol=1e-5)
    for name in ("parents", "tokens", "lo", "hi"):
        assert torch.equal(getattr(ours, name), getattr(reference, name)), name
    torch.testing.assert_close(ours.best_pruned, reference.best_pruned, atol=TOLERANCE, rtol=1e-5)


def walk(
    trie: Trie, seed: int, width: int, normalise: Normalise, filters: str, with_nodes: bool
) -> None:
    """Search all levels with both backends, each step from the reference's beams."""
    torch.manual_seed(seed)
    users = 4
    chosen = random_filters(trie, users, np.random.default_rng(seed), filters)
    vectors = np.random.default_rng(seed).normal(size=(trie.num_items, 5)).astype(np.float32)
    tables = NodeVectors.of(trie.codes(), vectors)
    beams = Beams.whole(trie, users)
    for level in range(trie.num_levels):
        shape = beams.lo.shape
        nodes = None
        if with_nodes:
            query = torch.randn(*shape, 5)
            nodes = Nodes.of(query, tables, level)
        logits = torch.randn(*shape, trie.level_sizes[level])
        reference, native = (
            constrained_topk(
                trie,
                level,
                beams,
                logits,
                width,
                nodes=nodes,
                filters=chosen,
                normalise=normalise,
                backend=backend,
            )
            for backend in ("reference", "native")
        )
        assert_same(native, reference)
        beams = Beams(reference.lo, reference.hi, reference.scores)
    leaves = beams.hi - beams.lo
    assert ((leaves == 1) | (leaves == 0)).all()


@pytest.mark.parametrize("catalogue", CATALOGUES)
@pytest.mark.parametrize("normalise", ["catalogue", "full"])
@pytest.mark.parametrize("filters", ["none", "deny", "allow", "named", "all denied"])
def test_native_equals_reference(catalogue: str, normalise: Normalise, filters: str) -> None:
    trie = make_trie(*CATALOGUES[catalogue])
    for width, with_nodes in ((1, False), (4, True), (33, False)):
        walk(trie, width, width, normalise, filters, with_nodes)


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 12), min_size=2, max_size=5),
    items=st.integers(1, 60),
    seed=st.integers(0, 10**6),
    width=st.integers(1, 70),
    normalise=st.sampled_from(["catalogue", "full"]),
    filters=st.sampled_from(["none", "deny", "allow", "named"]),
    with_nodes=st.booleans(),
)
def test_native_equals_reference_on_anything(
    sizes: list[int],
    items: int,
    seed: int,
    width: int,
    normalise: Normalise,
    filters: str,
    with_nodes: bool,
) -> None:
    walk(make_trie(sizes, items, 1.0, seed), seed, width, normalise, filters, with_nodes)


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_ties_go_to_the_smaller_leaf_rank(backend: str) -> None:
    trie = make_trie([6, 6], 30, 1.0)
    root = torch.zeros(1, 1, dtype=torch.int64)
    beams = Beams(root, root + trie.num_items, torch.zeros(1, 1))
    step = constrained_topk(trie, 0, beams, torch.zeros(1, 1, 6), 3, backend=backend)
    assert step.lo[0].tolist() == sorted(step.lo[0].tolist())
    assert step.tokens[0].tolist() == [0, 1, 2]


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("normalise", ["catalogue", "full"])
def test_no_child_scores_above_its_beam(backend: str, normalise: Normalise) -> None:
    trie = make_trie([6, 6], 30, 1.0)
    root = torch.zeros(500, 1, dtype=torch.int64)
    beams = Beams(root, root + trie.num_items, torch.rand(500, 1) * -9)
    torch.manual_seed(0)
    # One token takes nearly all of the probability: its log-probability rounds to about 0.
    logits = torch.randn(500, 1, 6) * 40
    step = constrained_topk(trie, 0, beams, logits, 6, normalise=normalise, backend=backend)
    assert (step.scores <= beams.scores).all()


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_dead_beams_and_no_users(backend: str) -> None:
    trie = make_trie([4, 4], 10, 1.0)
    dead = torch.full((2, 3), 5, dtype=torch.int64)
    beams = Beams(dead, dead, torch.full((2, 3), float("-inf")))
    step = constrained_topk(trie, 1, beams, torch.randn(2, 3, 4), 2, backend=backend)
    assert (step.scores == float("-inf")).all()
    assert torch.equal(step.lo, step.hi)
    nobody = Beams(*(t[:0] for t in (dead, dead)), torch.zeros(0, 3))
    assert constrained_topk(trie, 0, nobody, torch.randn(0, 3, 4), 2, backend=backend).lo.shape == (
        0,
        2,
    )


def test_strided_inputs() -> None:
    trie = make_trie([8, 8], 30, 1.0)
    root = torch.zeros(4, 1, dtype=torch.int64)
    beams = Beams(root, root + trie.num_items, torch.zeros(4, 1))
    logits = torch.randn(4, 1, 16)[:, :, ::2]
    assert not logits.is_contiguous()
    assert_same(
        constrained_topk(trie, 0, beams, logits, 5, backend="native"),
        constrained_topk(trie, 0, beams, logits, 5, backend="reference"),
    )


def test_bad_input_is_named() -> None:
    trie = make_trie([4, 4], 10, 1.0)
    root = torch.zeros(1, 1, dtype=torch.int64)
    beams = Beams(root, root + trie.num_items, torch.zeros(1, 1))
    good = torch.zeros(1, 1, 4)
    with pytest.raises(ConfigError, match="NaN"):
        constrained_topk(trie, 0, beams, good * float("nan"), 2)
    with pytest.raises(ConfigError, match="do not fit together"):
        constrained_topk(trie, 0, beams, torch.zeros(1, 1, 5), 2)
    with pytest.raises(ConfigError, match="outside the catalogue"):
        constrained_topk(trie, 0, Beams(root, root + 99, torch.zeros(1, 1)), good, 2)
    with pytest.raises(ConfigError, match="incompatible"):
        constrained_topk(trie, 0, beams, good.double(), 2)
    with pytest.raises(ConfigError, match="level"):
        constrained_topk(trie, 2, beams, good, 2)
    with pytest.raises(ConfigError, match="normalise"):
        constrained_topk(trie, 0, beams, good, 2, normalise="half")  # type: ignore[arg-type]
    with pytest.raises(BackendError, match="native, cuda, reference"):
        constrained_topk(trie, 0, beams, good, 2, backend="triton")
