"""Joint vectors of several encoders: the mean of their scores, and new items in the same space."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mmgrec_engine.models.config import GraphEncoderConfig
from mmgrec_engine.models.graph_encoder import GraphEncoder
from mmgrec_engine.models.graph_ensemble import GraphEnsemble

WIDTH = 6
CONFIG = GraphEncoderConfig(width=WIDTH, members=3)


def ensemble(members: int = 3) -> GraphEnsemble:
    torch.manual_seed(0)
    return GraphEnsemble([GraphEncoder(CONFIG, 5, 30, {"text": 4}) for _ in range(members)])


def vectors(count: int, members: int = 3) -> list[Tensor]:
    torch.manual_seed(count)
    return [F.normalize(torch.randn(count, WIDTH), dim=1) for _ in range(members)]


def test_joint_scores_are_the_best_approximation_of_the_mean() -> None:
    users, items = vectors(40), vectors(30)
    joint_users, joint_items = ensemble().join(users, items)
    mean = torch.stack([u @ v.T for u, v in zip(users, items, strict=True)]).mean(0)
    left, size, right = torch.linalg.svd(mean)
    best = left[:, :WIDTH] * size[:WIDTH] @ right[:WIDTH]
    torch.testing.assert_close(joint_users @ joint_items.T, best, atol=1e-5, rtol=1e-4)
    assert float(joint_items.norm(dim=1).mean()) == pytest.approx(1.0)


def test_members_that_agree_are_joined_without_loss() -> None:
    users, items = vectors(40, 1)[0], vectors(30, 1)[0]
    joint_users, joint_items = ensemble().join([users] * 3, [items] * 3)
    torch.testing.assert_close(joint_users @ joint_items.T, users @ items.T, atol=1e-5, rtol=1e-4)


def test_one_member_stays_what_it_is() -> None:
    users, items = vectors(7, 1)[0], vectors(9, 1)[0]
    alone = ensemble(1)
    assert [x.data_ptr() for x in alone.join([users], [items])] == [
        users.data_ptr(),
        items.data_ptr(),
    ]
    features, present = {"text": torch.randn(2, 4)}, {"text": torch.ones(2, dtype=torch.bool)}
    expected = alone.members[0].encode_new(features, present, 2)  # type: ignore[operator]
    assert torch.equal(alone.encode_new(features, present, 2, unit_vectors=False), expected)


def test_the_projection_leads_from_the_members_to_the_joint_vectors() -> None:
    made, items = ensemble(), vectors(30)
    _, joint = made.join(vectors(40), items)
    torch.testing.assert_close(torch.cat(items, 1) @ made.projection, joint, atol=1e-5, rtol=1e-4)
    features, present = {"text": torch.randn(3, 4)}, {"text": torch.ones(3, dtype=torch.bool)}
    apart = [m.encode_new(features, present, 3) for m in made.members]  # type: ignore[operator]
    expected = torch.cat([F.normalize(x, dim=1) for x in apart], 1) @ made.projection
    torch.testing.assert_close(made.encode_new(features, present, 3, unit_vectors=True), expected)


def test_fewer_users_or_items_than_dimensions_are_filled_up() -> None:
    joint_users, joint_items = ensemble().join(vectors(2), vectors(4))
    assert joint_users.shape == (2, WIDTH)
    assert joint_items.shape == (4, WIDTH)
    mean = torch.stack([u @ v.T for u, v in zip(vectors(2), vectors(4), strict=True)]).mean(0)
    torch.testing.assert_close(joint_users @ joint_items.T, mean, atol=1e-5, rtol=1e-4)
