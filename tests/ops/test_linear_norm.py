"""`linear_norm` against its formula, and who computes it."""

from __future__ import annotations

import pytest
import torch

from mmgrec_engine.errors import BackendError, ConfigError
from mmgrec_engine.ops.linear_norm import linear_norm


def test_it_is_a_projection_a_residual_and_a_norm() -> None:
    torch.manual_seed(0)
    x, residual = torch.randn(2, 3, 5, dtype=torch.float64), torch.randn(2, 3, 7).double()
    out, norm = torch.nn.Linear(5, 7, bias=False).double(), torch.nn.LayerNorm(7).double()
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    found = linear_norm(x, residual, out.weight, norm.weight, norm.bias)
    added = residual + out(x)
    centred = added - added.mean(-1, keepdim=True)
    scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(found, scaled * norm.weight + norm.bias)


def test_where_a_gradient_is_needed_it_is_right() -> None:
    x, weight = torch.randn(3, 5, requires_grad=True), torch.randn(5, 5)
    for backend in ("triton", "reference"):
        found = linear_norm(x, x, weight, torch.ones(5), torch.arange(5.0), backend=backend)
        (gradient,) = torch.autograd.grad(found.square().sum(), x)
        assert gradient.abs().sum() > 0


def test_what_does_not_fit_is_named() -> None:
    x, one = torch.zeros(2, 5), torch.ones(7)
    with pytest.raises(ConfigError, match="do not fit"):
        linear_norm(x, torch.zeros(2, 7), torch.zeros(5, 7), one, one)
    with pytest.raises(ConfigError, match="do not fit"):
        linear_norm(x, torch.zeros(2, 7), torch.zeros(7, 5), one[:5], one)
    with pytest.raises(BackendError, match="triton, reference"):
        linear_norm(x, torch.zeros(2, 7), torch.zeros(7, 5), one, one, backend="cuda")
