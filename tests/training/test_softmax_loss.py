"""The softmax over all items equals autograd's, value and gradients."""

from __future__ import annotations

import pytest
import torch

from mmgrec.training import softmax_loss
from mmgrec.training.softmax_loss import weighted_log_sum_exp


@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 7, 3), (64, 33, 16), (3, 1000, 8), (0, 4, 2)])
@pytest.mark.parametrize("at_once", [1, 100, 1 << 20])
@pytest.mark.parametrize("scale", [1.0, 5.0, 200.0])
def test_value_and_gradients(
    shape: tuple[int, int, int], at_once: int, scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(softmax_loss, "SCORES_AT_ONCE", at_once)
    users_count, items_count, width = shape
    torch.manual_seed(1)
    users = torch.randn(users_count, width, dtype=torch.float64, requires_grad=True)
    items = torch.randn(items_count, width, dtype=torch.float64, requires_grad=True)
    weight = torch.randint(0, 9, (users_count,)).double()
    expected = (weight * (scale * users @ items.T).logsumexp(1)).sum()
    gradients = torch.autograd.grad(3 * expected, (users, items))
    found = weighted_log_sum_exp(users, items, weight, scale)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(3 * found, (users, items)), gradients)


def test_finite_differences_agree() -> None:
    torch.manual_seed(2)
    users = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    items = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.tensor([1.0, 2.0, 0.0, 5.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda u, v: weighted_log_sum_exp(u, v, weight, 2.0), (users, items)
    )
