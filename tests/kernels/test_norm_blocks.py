"""`linear_norm` and `feed_forward_norm` in Triton against the references in fp64.

Without a GPU the kernels run in Triton's interpreter (TRITON_INTERPRET=1, set before the import).
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mmgrec_engine.kernels import linear_norm as kernel
from mmgrec_engine.ops.feed_forward_norm import feed_forward_norm, feed_forward_norm_reference
from mmgrec_engine.ops.linear_norm import linear_norm, linear_norm_reference

# Relative to the largest value. fp32: sums of at most 300 products good to 2^-22; 16 bits: hidden
# numbers and the result are rounded.
TOLERANCES = {torch.float32: 5e-6, torch.bfloat16: 2**-6, torch.float16: 2**-9}

# Rows, inner width, width: one of everything; around a tile of rows; widths that are no powers of
# two; inner widths of several blocks with a rest; the widest model.
SHAPES = [(1, 1, 1), (16, 64, 64), (17, 70, 24), (40, 300, 128), (3, 16, 100)]


@pytest.fixture(scope="module")
def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def draw(device: torch.device, dtype: torch.dtype, *shapes: tuple[int, ...]) -> list[Tensor]:
    """Normal numbers, matrices scaled so that rows of products are as large."""
    g = torch.Generator().manual_seed(0)
    numbers = [torch.randn(shape, generator=g) / shape[-1] ** 0.5 for shape in shapes]
    return [x.to(device, dtype) for x in numbers]


def assert_near(found: Tensor, wanted: Tensor) -> None:
    error = (found.double() - wanted).abs().max() / wanted.abs().max().clamp(min=0.1)
    assert error <= TOLERANCES[found.dtype]


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_linear_norm(device: torch.device, shape: tuple[int, int, int], dtype: torch.dtype) -> None:
    rows, inner, width = shape
    shapes = ((rows, inner), (rows, width), (width, inner), (width,), (width,))
    tensors = draw(device, dtype, *shapes)
    found = linear_norm(*tensors, backend="triton")
    assert_near(found, linear_norm_reference(*(x.double() for x in tensors)))


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_feed_forward_norm(
    device: torch.device, shape: tuple[int, int, int], dtype: torch.dtype
) -> None:
    rows, inner, width = shape
    shapes = ((rows, width), (inner, width), (inner,), (width, inner), (width,), (width,), (width,))
    x, w_1, b_1, w_2, b_2, gain, shift = draw(device, dtype, *shapes)
    found = feed_forward_norm(x, (w_1, b_1), (w_2, b_2), gain, shift, backend="triton")
    x, w_1, b_1, w_2, b_2, gain, shift = (t.double() for t in (x, w_1, b_1, w_2, b_2, gain, shift))
    assert_near(found, feed_forward_norm_reference(x, (w_1, b_1), (w_2, b_2), gain, shift))


def test_many_rows_any_strides_and_none(
    device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "MANY", 50)  # larger tiles
    x, residual, weight, gain, shift = draw(
        device, torch.float32, (2, 65, 20), (2, 1, 24), (24, 20), (24,), (24,)
    )
    spread = x.mT.contiguous().mT
    expanded = residual.expand(-1, 65, -1)
    found = linear_norm(spread, expanded, weight, gain, shift, backend="triton")
    wanted = linear_norm_reference(*(t.double() for t in (x, expanded, weight, gain, shift)))
    assert_near(found, wanted)
    nothing = linear_norm(x[:0], expanded[:0], weight, gain, shift, backend="triton")
    assert nothing.shape == (0, 65, 24)


def test_wider_models_take_the_reference(device: torch.device) -> None:
    x, weight, gain = draw(device, torch.float32, (3, 130), (130, 130), (130,))
    found = linear_norm(x, x, weight, gain, gain, backend="triton")
    assert torch.equal(found, linear_norm_reference(x, x, weight, gain, gain))
    into, out_of = (weight, gain), (weight, gain)
    found = feed_forward_norm(x, into, out_of, gain, gain, backend="triton")
    assert torch.equal(found, feed_forward_norm_reference(x, into, out_of, gain, gain))
