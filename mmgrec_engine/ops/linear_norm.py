"""The end of an attention block: projection, residual and layer norm in one.

Shapes: R rows, N inner width (heads x head width), E model width.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from mmgrec_engine.errors import ConfigError
from mmgrec_engine.ops.forward_only import on_triton
from mmgrec_engine.ops.work import Work


def linear_norm(
    x: Tensor,
    residual: Tensor,
    weight: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    *,
    backend: str = "reference",
) -> Tensor:
    """Project, add what went around, and normalise.

    ::

        out = layer_norm(residual + x W^T)

    Parameters
    ----------
    x : Tensor
        ``[..., N]``.
    residual : Tensor
        ``[..., E]``.
    weight, norm_weight, norm_bias : Tensor
        ``[E, N]``, ``[E]``, ``[E]``.
    backend : {"triton", "reference"}
        As chosen by `mmgrec_engine.ops.backends.choose`. ``triton`` takes float32, bfloat16 and
        float16 on a GPU and computes only the forward pass of models up to its widest tile;
        beyond, and where a gradient is needed, the reference runs in its place.

    Returns
    -------
    Tensor
        ``[..., E]``.

    Raises
    ------
    ConfigError
        Shapes do not fit together.
    BackendError
        The backend is unknown.
    """
    tensors = (x, residual, weight, norm_weight, norm_bias)
    width = residual.shape[-1:]
    fits = weight.shape == (*width, x.shape[-1]) and x.shape[:-1] == residual.shape[:-1]
    if not fits or norm_weight.shape != width or norm_bias.shape != width:
        raise ConfigError(
            "linear_norm: x, residual, weight and norm do not fit together",
            value=", ".join(str(tuple(t.shape)) for t in tensors),
            allowed="[..., N], [..., E], [E, N], [E], [E]",
        )
    if on_triton("linear_norm", backend, *tensors):
        from mmgrec_engine.kernels import linear_norm as kernel

        if weight.shape[0] <= kernel.WIDEST:
            return kernel.linear_norm(*tensors)
    return linear_norm_reference(*tensors)


def linear_norm_reference(
    x: Tensor, residual: Tensor, weight: Tensor, norm_weight: Tensor, norm_bias: Tensor
) -> Tensor:
    """Do the same in torch: test oracle and baseline."""
    added = residual + F.linear(x, weight)
    return F.layer_norm(added, norm_weight.shape, norm_weight, norm_bias)


def linear_norm_work(rows: int, inner: int, width: int, *, itemsize: int = 4) -> Work:
    """Return operations and bytes: a product, and every array once."""
    numbers = rows * (inner + 2 * width) + width * (inner + 2)
    return Work(2 * rows * inner * width, itemsize * numbers)
