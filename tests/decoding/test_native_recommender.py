"""The native recommender against the torch model and beam search."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from edited_catalogue import edited
from mmgrec_engine.catalog.filters import RankFilter
from mmgrec_engine.catalog.nodes import NodeVectors
from recommender_world import TOLERANCE, World, make_model, make_world, native_of, offsets_of

SMALL = {"width": 8, "heads": 2, "head_width": 4, "feed_forward": 8}
SHAPES: dict[str, dict[str, Any]] = {
    "as served": {"width": 64, "heads": 4, "head_width": 16, "feed_forward": 256},
    "odd": {"width": 20, "heads": 3, "head_width": 5, "feed_forward": 37},
    "one": {"width": 1, "heads": 1, "head_width": 1, "feed_forward": 1, "decoder_layers": 1},
    "wide heads": {"width": 40, "heads": 2, "head_width": 33, "feed_forward": 70},
    "deep": {**SMALL, "encoder_layers": 3, "decoder_layers": 4},
}


@pytest.mark.parametrize("normalise", ["catalogue", "full"])
@pytest.mark.parametrize("node_vectors", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_items_scores_and_certificates_are_torchs(
    shape: str, node_vectors: bool, normalise: str
) -> None:
    options = {"node_vectors": node_vectors, "normalise": normalise, **SHAPES[shape]}
    for item_width in (options["width"], 7):
        world = make_world([9, 33, 5], 700, 1, item_width=item_width, **options)
        histories = world.histories(4, [1, 3, 32, 150], 2)
        for k, width in ((1, 1), (5, 10), (10, 50)):
            world.check(histories, k, width)


@pytest.mark.parametrize("levels", range(2, 9))
def test_every_number_of_levels(levels: int) -> None:
    world = make_world([5, 3, 2, 4, 3, 2, 2, 3][:levels], 300, levels, **SMALL)
    histories = world.histories(3, [4, 9], levels)
    world.check(histories, 5, 12)


def test_one_user_one_item_and_more_results_than_items() -> None:
    world = make_world([4, 4, 4], 20, 3, **SMALL)
    world.check([np.array([7])], 1, 1)
    world.check([np.array([7])], 30, 30)
    world.check([np.array([7])], 3, 512)


def test_a_wide_beam() -> None:
    world = make_world([60, 60, 60], 5000, 4, **SHAPES["as served"], item_width=64)
    world.check(world.histories(2, [20, 1], 1), 100, 512)


def test_known_users_have_vectors_of_their_own() -> None:
    world = make_world([9, 9, 9], 300, 5, users=4, user_vector="graph", **SMALL)
    histories = world.histories(4, [3, 8], 5)
    world.check(histories, 5, 10, rows=np.array([2, -1, 0, 3]))
    world.check(histories, 5, 10)


@pytest.mark.parametrize("decay", [0.9, 0.3])
def test_newer_items_may_weigh_more(decay: float) -> None:
    world = make_world([9, 9, 9], 300, 5, **SMALL)
    histories = world.histories(4, [1, 3, 8, 150], 5)
    even = world.recommend(histories, 5, 10)
    world.model.history_decay.fill_(decay)
    newer = World(world.model, world.catalog, world.nodes, world.item_vectors)
    newer.check(histories, 5, 10)
    found = newer.recommend(histories, 5, 10)
    assert np.array_equal(found[1][0], even[1][0])  # of one item there is no order
    assert not np.array_equal(found[1][1:], even[1][1:])


@pytest.mark.parametrize("decay", [0.0, -0.5, 1.5, float("nan")])
def test_a_decay_out_of_range_is_refused(decay: float) -> None:
    model = make_model([4, 4], np.zeros((4, 6), np.float32), 0, **SMALL)
    model.history_decay.fill_(decay)
    with pytest.raises(ValueError, match="history_decay is outside 0 to 1"):
        native_of(model)


def test_filters() -> None:
    world = make_world([7, 7, 3], 120, 6, **SMALL)
    n = world.catalog.num_items
    histories = world.histories(3, [3, 8], 6)
    top = world.recommend(histories, 20, 40)[0]
    deny = [top[0, :10], np.setdiff1d(np.arange(n), [3, 50]), np.zeros(0, np.int64)]
    world.check(histories, 5, 10, filters=RankFilter.from_lists(deny, None, n))
    allow = [np.arange(n - 4, n), None, np.arange(0, n, 9)]
    world.check(histories, 6, 10, filters=RankFilter.from_lists(deny, allow, n))


@pytest.mark.parametrize("normalise", ["catalogue", "full"])
@pytest.mark.parametrize("node_vectors", [False, True])
def test_an_edited_catalogue(node_vectors: bool, normalise: str) -> None:
    sizes = [6, 6, 6]
    with edited(sizes, 120, 40, 7) as made:
        snapshot, native = made.snapshot, made.snapshot.native
        base = int(native.whole[1])
        ranks = np.arange(base)
        nodes = None
        if node_vectors:
            of_base = NodeVectors.of(snapshot.codes(ranks), made.vectors[snapshot.ids(ranks)])
            added = snapshot.ids(np.arange(base, snapshot.num_leaves))
            removed = snapshot.ids(native.removed.astype(np.int64))
            nodes = of_base.edited(made.vectors[added], made.vectors[removed])
        model = make_model(
            sizes, made.vectors[:base], 7, node_vectors=node_vectors, normalise=normalise, **SMALL
        )
        world = World(model, snapshot, nodes, made.vectors)
        histories = world.histories(4, [3, 8], 7)
        world.check(histories, 8, 16)
        filters, _ = made.filters(np.random.default_rng(1), 4)
        world.check(histories, 8, 16, filters=filters)


def test_threads_change_nothing() -> None:
    world = make_world([30, 30, 30], 3000, 8, **SHAPES["as served"], item_width=64)
    histories = world.histories(40, [1, 5, 40], 8)
    one = world.recommend(histories, 10, 20)
    for threads in (2, 5):
        found = world.recommend(histories, 10, 20, threads=threads)
        assert all(np.array_equal(a, b) for a, b in zip(one, found, strict=True))
    # Nor does who else is in the batch.
    alone = [world.recommend([history], 10, 20) for history in histories]
    for part, whole in enumerate(one):
        assert np.array_equal(np.concatenate([found[part] for found in alone]), whole)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("node_vectors", [False, True])
def test_any_prefixes_decode_as_in_torch(shape: str, node_vectors: bool) -> None:
    world = make_world([9, 33, 5], 700, 1, node_vectors=node_vectors, **SHAPES[shape])
    histories = world.histories(3, [1, 3, 32], 2)
    offsets = offsets_of(histories)
    memory = world.native.encode(world.item_vectors, np.concatenate(histories), offsets, None, 2)
    assert memory.users == 3
    expected = world.encode_torch(histories, None)
    rng = np.random.default_rng(0)
    for tokens in range(3):
        users = np.sort(rng.integers(0, 3, 150)) if tokens % 2 else rng.integers(0, 3, 150)
        prefixes = rng.integers(0, [3, 4, 5][:tokens], (150, tokens))
        logits, query = world.native.decode(memory, users, prefixes, 2)
        with torch.no_grad():
            of_users = expected.of_users(torch.from_numpy(users))
            hidden = world.model.decoder(torch.from_numpy(prefixes)[:, None], of_users)[:, 0, -1]
            close(logits, world.model.head.logits(tokens, hidden))
            wanted = world.model.head.node_query(tokens, hidden, of_users.user)
        assert (query is None) == (wanted is None)
        if wanted is not None:
            close(query, wanted)


def close(found: NDArray[np.float32], expected: Tensor) -> None:
    np.testing.assert_allclose(found, expected.numpy(), atol=TOLERANCE, rtol=TOLERANCE)


def test_stages_account_for_a_request() -> None:
    world = make_world([30, 30, 30], 3000, 8, **SHAPES["as served"], item_width=64)
    history = np.arange(32)
    stages = world.native.stages(
        world.catalog.native, world.item_vectors, history, np.array([0, 32]), None,
        world.node_arguments(), None, 10, 10, 1,
    )  # fmt: skip
    by_name = {name: (seconds, flops) for name, seconds, flops, _ in stages}
    assert all(seconds >= 0 for seconds, _ in by_name.values())
    # 2 layers of 64 x (3 * 64 + 3 * 16) columns for 32 items.
    assert by_name["encode projection"][1] == 2 * 2 * 32 * 64 * (3 * 64 + 3 * 16)
    # A level of 10 beams: 64 x 256 x 64 in both layers.
    assert by_name["level 1 feed-forward"][1] == 2 * 2 * 10 * 64 * 256 * 2
    assert by_name["level 1 head"][1] == 2 * 10 * 64 * (30 + 64)


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_narrow_numbers_give_nearly_the_same_items(precision: str) -> None:
    world = make_world([60, 60, 60], 5000, 4, **SHAPES["as served"], item_width=64)
    exact = world.recommend(histories := world.histories(40, [20, 1], 1), 10, 50)
    try:
        world.native = native_of(world.model, precision)
    except ValueError as error:
        pytest.skip(str(error))
    assert world.native.precision == precision
    leaves, scores, _ = world.recommend(histories, 10, 50)
    shared = [len(set(a) & set(b)) for a, b in zip(exact[0], leaves, strict=True)]
    # A score is a sum of differences of logits of some tens here.
    assert np.median(np.abs(scores - exact[1])) < 0.2
    assert np.mean(shared) > 8
    with pytest.raises(ValueError, match="fp32, bf16, int8"):
        native_of(world.model, "fp64")


def test_wrong_weights_are_named() -> None:
    model = make_world([4, 4], 10, 0, **SMALL).model
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    name = "decoder.layers.1.cross_kv.weight"
    for wrong in (None, weights[name][:, :-1].copy()):
        changed = {key: value for key, value in weights.items() if key != name}
        if wrong is not None:
            changed[name] = wrong
        model.state_dict = lambda changed=changed: {  # type: ignore[method-assign, misc]
            key: torch.from_numpy(value) for key, value in changed.items()
        }
        with pytest.raises(ValueError, match=name):
            native_of(model)


def test_wrong_input_is_refused() -> None:
    world = make_world([4, 4, 4], 40, 0, users=2, user_vector="graph", **SMALL)
    n = world.catalog.num_items
    good = [np.array([1, 2]), np.array([3])]

    def refuse(
        match: str,
        histories: list[NDArray[np.int64]] = good,
        k: int = 2,
        width: int = 4,
        **given: NDArray[np.int64],
    ) -> None:
        with pytest.raises(ValueError, match=match):
            world.recommend(histories, k, width, **given)

    refuse(f"item {n} is not a row", [np.array([n])])
    refuse("item -1", [np.array([-1])])
    refuse("empty", [np.array([1]), np.zeros(0, np.int64)])
    refuse("user row 2", rows=np.array([0, 2]))
    refuse("user row -2", rows=np.array([-2, 0]))
    refuse("one entry per user", rows=np.array([0]))
    refuse("keep", k=5)
    refuse("keep", k=0)
    world.item_vectors = np.full_like(world.item_vectors, np.nan)
    refuse("NaN")
    other = make_world([4, 5, 4], 40, 0, **SMALL)
    world.catalog = other.catalog
    refuse("levels")
    memory = world.native.encode(other.item_vectors, good[0], np.array([0, 2]), None, 1)
    with pytest.raises(ValueError, match="another recommender"):
        native_of(world.model).decode(memory, np.array([0]), np.zeros((1, 1), np.int64), 1)
    with pytest.raises(ValueError, match="user 1 is not"):
        world.native.decode(memory, np.array([1]), np.zeros((1, 1), np.int64), 1)
    with pytest.raises(ValueError, match="token 4"):
        world.native.decode(memory, np.array([0]), np.full((1, 1), 4), 1)
    with pytest.raises(ValueError, match="shorter"):
        world.native.decode(memory, np.array([0]), np.zeros((1, 3), np.int64), 1)
