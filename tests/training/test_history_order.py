"""What the order of histories tells is learned, where they have one."""

from __future__ import annotations

import numpy as np
import pytest

from mmgrec.data.histories import Histories
from mmgrec.training.recommender import Catalogue, RecommenderStage, RecommenderTraining
from mmgrec_engine.catalog.trie import Trie
from mmgrec_engine.models.config import RecommenderConfig

USERS, GROUPS, EACH = 90, 6, 8
ITEMS = GROUPS * EACH


def group_items(rng: np.random.Generator, group: int, count: int) -> list[int]:
    return (group * EACH + rng.choice(EACH, count, replace=False)).tolist()


def histories(seed: int) -> tuple[Histories, Histories]:
    """Users who liked one group, then another one, and like that one next."""
    rng = np.random.default_rng(seed)
    train, valid = [], []
    for _ in range(USERS):
        before, now = rng.choice(GROUPS, 2, replace=False)
        items = group_items(rng, now, 4)
        train.append(group_items(rng, before, 6) + items[:3])
        valid.append(items[3:])
    return lists_of(train), lists_of(valid)


def lists_of(rows: list[list[int]]) -> Histories:
    offsets = np.cumsum([0, *map(len, rows)])
    return Histories(offsets, np.concatenate(rows).astype(np.int32))


def catalogue(history: Histories) -> Catalogue:
    """Vectors that know the groups, and a little more."""
    rng = np.random.default_rng(0)
    codes = np.array([[g, i] for g in range(GROUPS) for i in range(EACH)], np.int32)
    trie, _ = Trie.build(codes, [GROUPS, EACH])
    items = np.repeat(np.eye(GROUPS), EACH, axis=0) + rng.normal(0, 0.1, (ITEMS, GROUPS))
    items = (items / np.linalg.norm(items, axis=1, keepdims=True)).astype(np.float32)
    users = np.stack([items[history.of(u)].mean(0) for u in range(USERS)])
    return Catalogue(trie, codes, items, users, np.arange(ITEMS), 5.0)


@pytest.fixture(params=[0, 1])
def data(request: pytest.FixtureRequest) -> tuple[Histories, Histories]:
    return histories(request.param)


def stage(
    data: tuple[Histories, Histories], *, in_order: bool, **options: bool
) -> RecommenderStage:
    shape = RecommenderConfig(width=8, heads=2, head_width=4, feed_forward=8, **options)  # type: ignore[arg-type]
    training = RecommenderTraining.model_validate(
        {"loop": {"epochs": 1, "learning_rate": 1e-3}, "max_targets": 3}
    )
    return RecommenderStage(catalogue(data[0]), *data, shape, training, in_order=in_order)


def test_newer_items_weigh_more_where_they_tell_more(data: tuple[Histories, Histories]) -> None:
    even = stage(data, in_order=True)
    assert float(even.model.history_decay) == 1.0
    newer = stage(data, in_order=True, history_order=True)
    assert float(newer.model.history_decay) < 0.9
    assert newer.limits.ordered  # so contexts are told as they will be: up to their targets
    before, after = even.validate(), newer.validate()
    assert before is not None
    assert after is not None
    assert after > 1.2 * before


def test_without_times_nothing_is_read_from_the_order(data: tuple[Histories, Histories]) -> None:
    found = stage(data, in_order=False, history_order=True)
    assert float(found.model.history_decay) == 1.0
    assert not found.limits.ordered
