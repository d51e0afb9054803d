"""`rq_assign` against a search by explicit distances."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mmgrec_engine.errors import ConfigError
from mmgrec_engine.ops.rq_assign import rq_assign


def by_distance(x: Tensor, codebooks: Tensor) -> tuple[Tensor, Tensor]:
    codes = torch.empty(len(x), len(codebooks), dtype=torch.long)
    norms = torch.empty(len(x), dtype=x.dtype)
    for n, row in enumerate(x):
        residual = row.clone()
        for level, codebook in enumerate(codebooks):
            code = int(((residual - codebook) ** 2).sum(1).argmin())
            codes[n, level] = code
            residual = residual - codebook[code]
        norms[n] = (residual**2).sum()
    return codes, norms


@pytest.mark.parametrize(
    "shape", [(0, 3, 1, 2), (1, 1, 1, 1), (17, 5, 3, 7), (40, 16, 2, 33)], ids=str
)
def test_codes_and_residuals(shape: tuple[int, int, int, int]) -> None:
    rows, width, levels, size = shape
    g = torch.Generator().manual_seed(3)
    x = torch.randn(rows, width, generator=g, dtype=torch.float64)
    codebooks = torch.randn(levels, size, width, generator=g, dtype=torch.float64)
    codes, norms = rq_assign(x, codebooks)
    wanted, wanted_norms = by_distance(x, codebooks)
    assert torch.equal(codes, wanted)
    torch.testing.assert_close(norms, wanted_norms)


def test_ties_go_to_the_lowest_index() -> None:
    codebooks = torch.tensor([[[1.0], [1.0], [3.0]]])
    assert rq_assign(torch.tensor([[1.0], [2.0]]), codebooks)[0].flatten().tolist() == [0, 0]


def test_rows_that_are_codewords_leave_nothing() -> None:
    codebooks = torch.randn(1, 9, 4)
    codes, norms = rq_assign(codebooks[0], codebooks)
    assert codes.flatten().tolist() == list(range(9))
    assert (norms == 0).all()


def test_bad_input_is_named() -> None:
    with pytest.raises(ConfigError, match="NaN"):
        rq_assign(torch.tensor([[float("nan")]]), torch.ones(1, 2, 1))
    with pytest.raises(ConfigError, match="do not fit"):
        rq_assign(torch.ones(2, 3), torch.ones(1, 2, 4))
