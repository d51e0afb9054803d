"""The item-item ridge regression as a member of the ensemble."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmgrec.data.histories import Histories
from mmgrec.evaluation.baselines.base import interaction_matrix
from mmgrec.evaluation.baselines.ease import ease_weights
from mmgrec.training import item_ridge
from mmgrec.training.item_ridge import CANDIDATES, Judge, join_as_wide, join_item_ridge

USERS, ITEMS, GROUPS, WIDTH = 120, 30, 3, 8


def histories(seed: int, length: int) -> Histories:
    """Users who like one group of items each."""
    rng = np.random.default_rng(seed)
    rows = [
        np.sort(rng.choice(np.arange(u % GROUPS, ITEMS, GROUPS), length, replace=False))
        for u in range(USERS)
    ]
    return Histories(np.arange(USERS + 1) * length, np.concatenate(rows).astype(np.int32))


def judge(train: Histories, valid: Histories) -> Judge:
    """Codes: the items' own rows, three to a group."""
    return Judge(train, valid, lambda items: np.arange(len(items))[:, None] // GROUPS, 2.0)


def random_vectors() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    normal = torch.nn.functional.normalize
    return normal(torch.randn(USERS, WIDTH), dim=1), normal(torch.randn(ITEMS, WIDTH), dim=1)


def members_of(ranks: list[range]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Members that each know some of the groups' directions."""
    users = torch.nn.functional.one_hot(torch.arange(USERS) % GROUPS, GROUPS).float()
    items = torch.nn.functional.one_hot(torch.arange(ITEMS) % GROUPS, GROUPS).float()
    return [users[:, list(rank)] for rank in ranks], [items[:, list(rank)] for rank in ranks]


def test_joint_vectors_grow_while_they_rank_better() -> None:
    jury = judge(histories(0, 5), histories(1, 2))
    apart = members_of([range(1), range(1, 2), range(2, 3), range(1)])
    assert join_as_wide(*apart, 2, jury)[1].shape == (ITEMS, 2)
    assert join_as_wide(*apart, 4, jury)[1].shape[1] in (2, 4)
    # What two of them know already is not known better by four times as many numbers.
    alike = members_of([range(3), range(3)])
    assert join_as_wide(*alike, 12, jury)[1].shape == (ITEMS, 3)


def test_joint_vectors_stay_narrow_where_nothing_can_be_judged() -> None:
    apart = members_of([range(1), range(1, 2)])
    nobody = Histories(np.zeros(USERS + 1, np.int64), np.zeros(0, np.int32))
    assert join_as_wide(*apart, 2, judge(histories(0, 5), nobody))[1].shape == (ITEMS, 1)
    jury = judge(histories(0, 5), histories(1, 2))
    assert join_as_wide(*apart, 0, jury)[1].shape == (ITEMS, 1)
    assert join_as_wide(apart[0][:1], apart[1][:1], 4, jury)[1] is apart[1][0]


def test_vectors_that_know_nothing_learn_from_the_regression() -> None:
    users, items = random_vectors()
    counted: list[int] = []
    jury = judge(histories(0, 5), histories(1, 2))
    found = join_item_ridge(users, items, jury, 0, counted.append)
    choice = found[2]
    assert choice.share > 0
    assert choice.chosen > choice.alone + 0.1
    assert found[0].shape == (USERS, WIDTH)
    assert found[1].shape == (ITEMS, WIDTH)
    assert float(found[1].norm(dim=1).mean()) == pytest.approx(1.0, abs=1e-5)
    assert sum(counted) == CANDIDATES


def test_a_regression_that_cannot_help_is_left_out() -> None:
    """The vectors put all validation items first: those of another group than the history's."""
    train = histories(0, 5)
    wanted = [np.arange((u + 1) % GROUPS, ITEMS, GROUPS) for u in range(USERS)]
    offsets = np.arange(USERS + 1) * len(wanted[0])
    other = Histories(offsets, np.concatenate(wanted).astype(np.int32))
    groups = torch.arange(ITEMS) % GROUPS
    items = torch.nn.functional.one_hot(groups, WIDTH).float()
    users = torch.nn.functional.one_hot((torch.arange(USERS) + 1) % GROUPS, WIDTH).float()
    found = join_item_ridge(users, items, judge(train, other), 0)
    assert found[2].share == 0
    assert found[2].chosen == found[2].alone
    assert found[0] is users
    assert found[1] is items


@pytest.mark.parametrize(("gain", "share"), [(1.009, 0.0), (1.02, 0.2)])
def test_a_blend_that_is_hardly_better_is_left_out(gain: float, share: float) -> None:
    scores = iter([1.0, 1.001, gain, 0.9, 1.0, 0.9])

    class Prepared(Judge):
        def __call__(self, *_: torch.Tensor) -> float:
            return next(scores)

    jury = Prepared(histories(0, 5), histories(1, 2), lambda _: np.zeros((ITEMS, 1)), 2.0)
    users, items = random_vectors()
    found = join_item_ridge(users, items, jury, 0)
    assert found[2].share == share
    assert (found[0] is users) == (share == 0)


def test_without_validation_items_nothing_is_chosen() -> None:
    users, items = random_vectors()
    nothing = Histories(np.zeros(USERS + 1, np.int64), np.zeros(0, np.int32))
    found = join_item_ridge(users, items, judge(histories(0, 5), nothing), 0)
    assert found[0] is users
    assert found[2].share == 0


def test_a_catalogue_too_large_for_it_keeps_its_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(item_ridge, "MAX_ITEMS", ITEMS - 1)
    users, items = random_vectors()

    def never(_: torch.Tensor) -> np.ndarray:
        raise AssertionError("a large catalogue was judged")

    jury = Judge(histories(0, 5), histories(1, 2), never, 2.0)
    found = join_item_ridge(users, items, jury, 0)
    assert found[1] is items


def test_all_of_the_regression_is_kept_where_the_rank_allows_it() -> None:
    interactions = interaction_matrix(histories(0, 5), ITEMS).astype(np.float32)
    gram = (interactions.T @ interactions).toarray().astype(np.float64)
    weights = ease_weights(gram, 5.0)
    left, right = item_ridge._low_rank(interactions, weights, 0)
    expected = torch.from_numpy(interactions @ weights).float()
    torch.testing.assert_close(left @ right.T, expected, atol=1e-4, rtol=1e-3)
    assert item_ridge._spread(left, right) == pytest.approx(
        float(expected.std(correction=0)), rel=1e-3
    )
