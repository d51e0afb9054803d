"""`feed_forward_norm` against its formula, and who computes it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mmgrec_engine.errors import BackendError, ConfigError
from mmgrec_engine.ops.feed_forward_norm import feed_forward_norm


def test_it_is_the_block_of_a_layer() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 7, dtype=torch.float64)
    net = nn.Sequential(nn.Linear(7, 11), nn.ReLU(), nn.Linear(11, 7)).double()
    norm = nn.LayerNorm(7).double()
    nn.init.normal_(norm.weight)
    into, out_of = ((net[i].weight, net[i].bias) for i in (0, 2))
    found = feed_forward_norm(x, into, out_of, norm.weight, norm.bias)
    torch.testing.assert_close(found, norm(x + net(x)))


def test_where_a_gradient_is_needed_it_is_right() -> None:
    x = torch.randn(3, 5, requires_grad=True)
    weights = (torch.randn(9, 5), torch.randn(9)), (torch.randn(5, 9), torch.randn(5))
    for backend in ("triton", "reference"):
        found = feed_forward_norm(x, *weights, torch.ones(5), torch.arange(5.0), backend=backend)
        (gradient,) = torch.autograd.grad(found.square().sum(), x)
        assert gradient.abs().sum() > 0


def test_what_does_not_fit_is_named() -> None:
    x, one = torch.zeros(2, 5), torch.ones(5)
    into, out_of = (torch.zeros(9, 5), torch.zeros(9)), (torch.zeros(5, 9), one)
    with pytest.raises(ConfigError, match="do not fit"):
        feed_forward_norm(x, into, (torch.zeros(9, 5), one), one, one)
    with pytest.raises(ConfigError, match="do not fit"):
        feed_forward_norm(x, (into[0], one), out_of, one, one)
    with pytest.raises(ConfigError, match="do not fit"):
        feed_forward_norm(x, into, out_of, one, one[:3])
    with pytest.raises(BackendError, match="triton, reference"):
        feed_forward_norm(x, into, out_of, one, one, backend="cuda")
