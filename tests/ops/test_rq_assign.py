"""`rq_assign` against a search by explicit distances; the Triton kernel's tests: tests/kernels."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mmgrec_engine.errors import BackendError, ConfigError
from mmgrec_engine.ops.rq_assign import rq_assign, rq_assign_work

CASES = [("reference", torch.float64), ("native", torch.float32)]
BACKENDS = ["reference", "native"]
# No row, one of everything, odd, not a power of two, more codes than a panel, wider than a tile.
SHAPES = [(0, 3, 1, 2), (1, 1, 1, 1), (17, 5, 3, 7), (40, 16, 2, 33), (9, 300, 4, 100)]
# Squared distances of float32 rows: rounding of sums of D products of numbers near one.
TOLERANCE = {torch.float64: 1e-10, torch.float32: 2e-4}


def by_distance(x: Tensor, codebooks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    codes = torch.empty(len(x), len(codebooks), dtype=torch.long)
    norms = torch.empty(len(x), dtype=x.dtype)
    top2 = torch.full((len(x), len(codebooks), 2), float("inf"), dtype=x.dtype)
    for n, row in enumerate(x):
        residual = row.clone()
        for level, codebook in enumerate(codebooks):
            distance = ((residual - codebook) ** 2).sum(1)
            code = int(distance.argmin())
            nearest = distance.sort().values[:2]
            top2[n, level, : len(nearest)] = nearest
            codes[n, level] = code
            residual = residual - codebook[code]
        norms[n] = (residual**2).sum()
    return codes, norms, top2


@pytest.mark.parametrize(("backend", "dtype"), CASES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_codes_and_distances(
    shape: tuple[int, int, int, int], backend: str, dtype: torch.dtype
) -> None:
    rows, width, levels, size = shape
    g = torch.Generator().manual_seed(3)
    x = torch.randn(rows, width, generator=g, dtype=dtype)
    codebooks = torch.randn(levels, size, width, generator=g, dtype=dtype)
    found = rq_assign(x, codebooks, top2=True, backend=backend)
    codes, norms, top2 = by_distance(x.double(), codebooks.double())
    assert torch.equal(found.codes, codes)
    tolerance = {"atol": TOLERANCE[dtype], "rtol": 1e-5}
    torch.testing.assert_close(found.residual_norms.double(), norms, **tolerance)
    assert found.top2 is not None
    torch.testing.assert_close(found.top2.double(), top2, **tolerance)
    assert rq_assign(x, codebooks, backend=backend).top2 is None


@pytest.mark.parametrize("backend", BACKENDS)
def test_ties_go_to_the_lowest_index(backend: str) -> None:
    codebooks = torch.tensor([[[1.0], [1.0], [3.0]]])
    x = torch.tensor([[1.0], [2.0]])
    assert rq_assign(x, codebooks, backend=backend).codes.flatten().tolist() == [0, 0]
    doubled = torch.randn(1, 40, 6).repeat(1, 2, 1)
    assert (rq_assign(torch.randn(50, 6), doubled, backend=backend).codes < 40).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_rows_that_are_codewords_leave_nothing(backend: str) -> None:
    codebooks = torch.randn(1, 9, 4)
    found = rq_assign(codebooks[0], codebooks, backend=backend)
    assert found.codes.flatten().tolist() == list(range(9))
    assert (found.residual_norms == 0).all()


def test_native_takes_strided_rows() -> None:
    wide, codebooks = torch.randn(30, 20), torch.randn(2, 5, 8)
    for x in (wide[:, 3:11], wide[::3, :8], torch.randn(8, 30).T):
        found = rq_assign(x, codebooks, backend="native")
        assert torch.equal(found.codes, rq_assign(x.contiguous(), codebooks).codes)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_bad_numbers_are_never_a_code_silently(backend: str, bad: float) -> None:
    x, codebooks = torch.randn(5, 4), torch.randn(2, 9, 4)
    x[3, 1] = bad
    with pytest.raises(ConfigError, match=r"NaN or infinity(.|\n)*row 3"):
        rq_assign(x, codebooks, backend=backend)
    if backend == "native":
        found = rq_assign(x, codebooks, backend=backend, check=False)
        good = [0, 1, 2, 4]
        assert (found.codes[3] == -1).all()
        assert torch.equal(found.codes[good], rq_assign(x[good], codebooks).codes)
    codebooks[1] = bad
    with pytest.raises(ConfigError, match="NaN or infinity"):
        rq_assign(torch.randn(5, 4), codebooks, backend=backend)


def test_native_op_is_registered_as_torch_expects() -> None:
    op = torch.ops.mmgrec.rq_assign_native.default
    for top2 in (False, True):
        torch.library.opcheck(op, (torch.randn(7, 4), torch.randn(2, 5, 4), top2))


def test_bad_input_is_named() -> None:
    with pytest.raises(ConfigError, match="do not fit"):
        rq_assign(torch.ones(2, 3), torch.ones(1, 2, 4))
    with pytest.raises(ConfigError, match="at least one level and codeword"):
        rq_assign(torch.ones(2, 3), torch.ones(1, 0, 3))
    with pytest.raises(ConfigError, match="float64"):
        rq_assign(torch.ones(2, 3).double(), torch.ones(1, 2, 3).double(), backend="native")
    with pytest.raises(BackendError, match="native, triton, reference"):
        rq_assign(torch.ones(2, 3), torch.ones(1, 2, 3), backend="cuda")


def test_work() -> None:
    work = rq_assign_work(10, 4, 3, 8)
    assert work.flops == 2 * 10 * 3 * 8 * 4
    assert work.bytes == 4 * (10 * 4 + 3 * 8 * 4) + 10 * (3 * 8 + 4)
