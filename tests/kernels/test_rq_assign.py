"""rq_assign in Triton against a brute force in fp64; in the interpreter where there is no GPU."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mmgrec_engine.errors import ConfigError
from mmgrec_engine.kernels.rq_assign import compilations, launch, rq_assign, rq_assign_triton
from mmgrec_engine.kernels.rq_assign_setup import Setup, setup_for

# fp32 sums of D products of numbers near 1: |error of a distance| <= RELATIVE * (sum of squares).
RELATIVE = 2e-6
# Among random codewords a tie within that tolerance is rare; more would be a wrong kernel.
RARE = 0.005


@pytest.fixture(scope="module")
def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def make(
    device: torch.device, rows: int, width: int, codes: int, levels: int
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(rows + 7 * width + 31 * codes + 101 * levels)
    x = torch.randn(rows, width, generator=generator)
    # Each level has finer codewords, as a trained quantiser has.
    scale = 0.7 ** torch.arange(levels)[:, None, None]
    codebooks = torch.randn(levels, codes, width, generator=generator) * scale
    return x.to(device), codebooks.to(device)


def check(x: Tensor, codebooks: Tensor, codes: Tensor, norms: Tensor, top2: Tensor | None) -> int:
    """Follow the codes in fp64; how many are not the exact nearest, all within the tolerance."""
    residual, near_ties = x.double(), 0
    assert codes.dtype == torch.int64
    assert norms.dtype == torch.float32
    for level, codebook in enumerate(codebooks.double()):
        # Explicit differences, so that the oracle has no cancellation of its own.
        distances = torch.stack([(residual - word).square().sum(1) for word in codebook], 1)
        slack = RELATIVE * (residual.square().sum(1) + codebook.square().sum(1).max())
        ordered = distances.sort(1).values
        chosen = distances.gather(1, codes[:, level : level + 1])[:, 0]
        assert bool((chosen - ordered[:, 0] <= slack).all())
        near_ties += int((codes[:, level] != distances.argmin(1)).sum())
        if top2 is not None:
            assert bool(((top2[:, level, 0] - ordered[:, 0]).abs() <= slack).all())
            if len(codebook) == 1:
                assert bool(torch.isinf(top2[:, level, 1]).all())
            else:
                assert bool(((top2[:, level, 1] - ordered[:, 1]).abs() <= slack).all())
        residual = residual - codebook[codes[:, level]]
    torch.testing.assert_close(norms.double(), residual.square().sum(1), rtol=1e-5, atol=1e-6)
    return near_ties


@pytest.mark.parametrize(
    ("rows", "width", "codes", "levels"),
    [
        (1, 1, 2, 1),
        (17, 5, 7, 3),
        (17, 1, 1, 4),
        (100, 32, 33, 4),
        (17, 64, 256, 3),
        (100, 64, 33, 1),
        (17, 96, 256, 3),
        (100, 96, 7, 3),
        (17, 300, 33, 4),
        (1, 300, 256, 1),
    ],
)
def test_agrees_with_brute_force(
    device: torch.device, rows: int, width: int, codes: int, levels: int
) -> None:
    x, codebooks = make(device, rows, width, codes, levels)
    near_ties = check(x, codebooks, *rq_assign(x, codebooks, top2=True))
    assert near_ties <= RARE * rows * levels


@pytest.mark.parametrize("target", ["sm_80", "sm_90"])
@pytest.mark.parametrize("width", [40, 130])
@pytest.mark.parametrize("split", [False, True], ids=["two parts", "three parts"])
def test_split_for_tensor_cores(device: torch.device, target: str, width: int, split: bool) -> None:
    # The parts' sums are what tensor cores compute; the interpreter multiplies them in fp32.
    setup = setup_for(width, target, split)
    assert setup.parts == (3 if split else 2)
    x, codebooks = make(device, 17, width, 70, 3)
    if not split:
        codebooks = codebooks.bfloat16()
    codes, norms, top2 = launch(x, codebooks, True, setup)
    assert check(x, codebooks, codes, norms, top2) <= RARE * codes.numel()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_16_bit_rows(device: torch.device, dtype: torch.dtype) -> None:
    x, codebooks = make(device, 17, 48, 33, 3)
    x = x.to(dtype)
    for words in (codebooks, codebooks.to(dtype)):
        check(x, words, *rq_assign(x, words, top2=True))


def test_no_rows(device: torch.device) -> None:
    x, codebooks = make(device, 0, 32, 7, 3)
    codes, norms, top2 = rq_assign(x, codebooks, top2=True)
    assert (codes.shape, norms.shape) == ((0, 3), (0,))
    assert top2 is not None
    assert top2.shape == (0, 3, 2)
    assert rq_assign(x, codebooks)[2] is None


def test_ties_go_to_the_lowest_index(device: torch.device) -> None:
    # Small integers: every sum is exact, equal distances are equal, and there are many of them.
    # (Copies of other codewords need not tie in the interpreter: BLAS rounds by column.)
    generator = torch.Generator().manual_seed(3)
    x = torch.randint(-2, 3, (60, 6), generator=generator).float().to(device)
    codebooks = torch.randint(-2, 3, (3, 40, 6), generator=generator).float().to(device)
    # Copies within a block of codes, and in later blocks at lower and higher columns.
    codebooks = torch.cat([codebooks, codebooks.flip(1), codebooks], 1)
    codes, norms, top2 = rq_assign(x, codebooks, top2=True)
    residual = x.cpu()
    for level, words in enumerate(codebooks.cpu()):
        distances = (residual[:, None] - words).square().sum(2)
        nearest = torch.from_numpy(distances.numpy().argmin(1))  # numpy promises the first
        assert torch.equal(codes[:, level].cpu(), nearest)
        residual = residual - words[nearest]
    assert top2 is not None
    assert torch.equal(top2[..., 1], top2[..., 0])
    assert torch.equal(norms.cpu(), residual.square().sum(1))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="BLAS rounds by column, a GPU does not")
def test_copies_of_a_codeword_tie() -> None:
    x, codebooks = make(torch.device("cuda"), 500, 64, 100, 3)
    codes, _, _ = rq_assign(x, torch.cat([codebooks, codebooks.flip(1), codebooks], 1))
    assert bool((codes < 100).all())


def test_equal_distances_of_different_codewords(device: torch.device) -> None:
    x = torch.zeros(3, 2, device=device)
    codebooks = torch.tensor([[[2.0, 0.0], [0.0, 1.0], [1.0, 0.0], [-1.0, 0.0]]], device=device)
    assert rq_assign(x, codebooks)[0].flatten().tolist() == [1, 1, 1]


def test_rows_of_a_wider_matrix(device: torch.device) -> None:
    x, codebooks = make(device, 34, 96, 33, 3)
    view = x[::2, 3:51]
    words = codebooks[:, :, :48]
    got, expected = rq_assign(view, words), rq_assign(view.contiguous(), words.contiguous())
    assert torch.equal(got[0], expected[0])
    transposed = view.T.contiguous().T
    assert torch.equal(rq_assign(transposed, words)[0], expected[0])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("width", [20, 96])
def test_a_row_that_is_not_finite_gets_no_code(
    device: torch.device, value: float, width: int
) -> None:
    x, codebooks = make(device, 17, width, 33, 3)
    bad = x.clone()
    bad[5, width - 1] = value
    codes, norms, top2 = rq_assign(bad, codebooks, top2=True)
    assert codes[5].tolist() == [-1, -1, -1]
    assert top2 is not None
    assert bool(torch.isnan(norms[5]))
    assert bool(torch.isnan(top2[5]).all())
    others = [row for row in range(17) if row != 5]
    expected = rq_assign(x, codebooks, top2=True)
    assert torch.equal(codes[others], expected[0][others])
    assert torch.equal(norms[others], expected[1][others])


def test_a_codeword_that_is_not_finite_is_never_chosen(device: torch.device) -> None:
    x, codebooks = make(device, 17, 32, 7, 2)
    codebooks[0, 3, 2] = math.nan
    codebooks[1, 2, 0] = math.inf
    codes, norms, _ = rq_assign(x, codebooks)
    assert not bool((codes[:, 0] == 3).any())
    assert not bool((codes[:, 1] == 2).any())
    assert bool(torch.isfinite(norms).all())
    # No codeword is left on the second level: no code, rather than a wrong one.
    codebooks[1] = math.nan
    codes, norms, _ = rq_assign(x, codebooks)
    assert bool((codes[:, 0] >= 0).all())
    assert bool((codes[:, 1] == -1).all())
    assert bool(torch.isnan(norms).all())


def test_opcheck(device: torch.device) -> None:
    x, codebooks = make(device, 5, 16, 7, 2)
    for top2 in (False, True):
        torch.library.opcheck(rq_assign_triton, (x, codebooks, top2))


def test_too_wide_is_an_error() -> None:
    with pytest.raises(ConfigError, match="at most 512 columns"):
        rq_assign(torch.zeros(1, 513), torch.zeros(1, 2, 513))


def test_setups_of_small_devices() -> None:
    assert setup_for(512, "sm_89", True).block_rows == 16
    assert setup_for(512, "sm_80", True) == Setup(32, 64, 64, 8, 1, 3)


def test_every_compiled_setup_is_one_that_launches() -> None:
    for target in ("sm_80", "sm_90", "sm_100", "gfx942"):
        for compilation in compilations(target):
            width, split = compilation.constexprs["WIDTH"], compilation.config["dtype"] == "fp32"
            setup = setup_for(width, target, split)
            assert compilation.constexprs["PARTS"] == setup.parts
            if compilation.name == "rq_assign":
                assert compilation.num_warps == setup.warps
                assert compilation.constexprs["BLOCK_ROWS"] == setup.block_rows
