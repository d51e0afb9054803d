"""Joint vectors of several encoders: the mean of their scores."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mmgrec.training.ensemble import join_members, projection

WIDTH = 6


def vectors(count: int, members: int = 3) -> list[Tensor]:
    torch.manual_seed(count)
    return [F.normalize(torch.randn(count, WIDTH), dim=1) for _ in range(members)]


def mean_scores(users: list[Tensor], items: list[Tensor]) -> Tensor:
    return torch.stack([u @ v.T for u, v in zip(users, items, strict=True)]).mean(0)


def test_joint_scores_are_the_best_approximation_of_the_mean() -> None:
    users, items = join_members(vectors(40), vectors(30))
    left, size, right = torch.linalg.svd(mean_scores(vectors(40), vectors(30)))
    best = left[:, :WIDTH] * size[:WIDTH] @ right[:WIDTH]
    torch.testing.assert_close(users @ items.T, best, atol=1e-5, rtol=1e-4)
    assert float(items.norm(dim=1).mean()) == pytest.approx(1.0)


def test_wider_joint_vectors_hold_more_of_the_mean() -> None:
    members = vectors(40), vectors(30)
    wanted = mean_scores(*members)
    errors = []
    for width in (WIDTH, 2 * WIDTH, len(members[0]) * WIDTH):
        users, items = join_members(*members, width)
        assert users.shape == (40, width)
        assert items.shape == (30, width)
        errors.append(float((users @ items.T - wanted).norm()))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] == pytest.approx(0, abs=1e-4)


def test_members_that_agree_are_joined_without_loss() -> None:
    users, items = vectors(40, 1), vectors(30, 1)
    joint_users, joint_items = join_members(users * 3, items * 3)
    scores = joint_users @ joint_items.T
    torch.testing.assert_close(scores, users[0] @ items[0].T, atol=1e-5, rtol=1e-4)


def test_one_member_stays_what_it_is() -> None:
    (users,), (items,) = vectors(7, 1), vectors(9, 1)
    joint = join_members([users], [items])
    assert joint[0] is users
    assert joint[1] is items


def test_fewer_users_or_items_than_dimensions_are_filled_up() -> None:
    users, items = join_members(vectors(2), vectors(4))
    assert users.shape == (2, WIDTH)
    assert items.shape == (4, WIDTH)
    scores = mean_scores(vectors(2), vectors(4))
    torch.testing.assert_close(users @ items.T, scores, atol=1e-5, rtol=1e-4)


def test_a_projection_leads_from_the_members_to_the_joint_vectors() -> None:
    members = vectors(30)
    _, joint = join_members(vectors(40), members)
    found = torch.cat(members, 1) @ projection(members, joint)
    torch.testing.assert_close(found, joint, atol=1e-5, rtol=1e-4)
