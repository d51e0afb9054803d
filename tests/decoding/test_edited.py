"""Searching an edited catalogue gives what a trie built afresh from its items gives."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edited_catalogue import WIDTH, Edited, edited
from mmgrec_engine.decoding.beams import NativeBeams
from mmgrec_engine.ops.constrained_topk import Beams, Nodes, constrained_topk

TOLERANCE = 1e-4

Normalise = Literal["catalogue", "full"]


def check_search(
    made: Edited, seed: int, width: int, normalise: Normalise, filtered: bool, with_nodes: bool
) -> None:
    """Walk all levels on both; the functional op on the trie, and op and native beams on both."""
    torch.manual_seed(seed)
    users = 4
    there, built = made.filters(np.random.default_rng(seed), users) if filtered else (None, None)
    beams, expected_beams = Beams.whole(made.snapshot, users), Beams.whole(made.trie, users)
    native = NativeBeams(made.snapshot, users, width, there)
    for level in range(made.trie.num_levels):
        shape = expected_beams.lo.shape
        logits = torch.randn(*shape, made.trie.level_sizes[level])
        nodes: tuple[Nodes | None, Nodes | None] = (None, None)
        if with_nodes:
            nodes = made.nodes(level, torch.randn(*shape, WIDTH))
        step = constrained_topk(
            made.snapshot, level, beams, logits, width,
            nodes=nodes[0], filters=there, normalise=normalise,
        )  # fmt: skip
        expected = constrained_topk(
            made.trie, level, expected_beams, logits, width,
            nodes=nodes[1], filters=built, normalise=normalise, backend="reference",
        )  # fmt: skip
        native.step(logits, nodes[0], normalise)
        torch.testing.assert_close(step.scores, expected.scores, atol=TOLERANCE, rtol=1e-5)
        torch.testing.assert_close(
            step.best_pruned, expected.best_pruned, atol=TOLERANCE, rtol=1e-5
        )
        assert torch.equal(step.tokens, expected.tokens)
        assert torch.equal(step.parents, expected.parents)
        beams, expected_beams = step.beams, expected.beams
    leaves = beams.leaves(made.snapshot)
    assert torch.equal(native.result()[0], leaves)
    ranks = expected_beams.leaves(made.trie)
    assert torch.equal(leaves >= 0, ranks >= 0)
    found = made.snapshot.ids(leaves[leaves >= 0].numpy())
    assert found.tolist() == made.ids[ranks[ranks >= 0].numpy()].tolist()


@settings(max_examples=50, deadline=None)
@given(
    sizes=st.lists(st.sampled_from([1, 2, 3, 5, 9, 300]), min_size=2, max_size=5),
    items=st.integers(0, 60),
    edits=st.integers(0, 25),
    seed=st.integers(0, 10**6),
    width=st.integers(1, 40),
    normalise=st.sampled_from(["catalogue", "full"]),
    filtered=st.booleans(),
    with_nodes=st.booleans(),
)
def test_an_edited_catalogue_equals_one_built_afresh(
    sizes: list[int],
    items: int,
    edits: int,
    seed: int,
    width: int,
    normalise: Normalise,
    filtered: bool,
    with_nodes: bool,
) -> None:
    with edited(sizes, items, edits, seed) as made:
        check_search(made, seed, width, normalise, filtered, with_nodes)


@pytest.mark.parametrize("normalise", ["catalogue", "full"])
@pytest.mark.parametrize("with_nodes", [False, True])
def test_a_larger_catalogue(normalise: Normalise, with_nodes: bool) -> None:
    # 16 x 16 tables on two levels, and prefixes that lost all, some or none of their items.
    with edited([16, 16, 16, 16], 3000, 120, 5) as made:
        for width in (1, 20, 70):
            check_search(made, width, width, normalise, True, with_nodes)
