"""The feed-forward block of a layer with its residual and layer norm, in one.

Shapes: R rows, E model width, F inner width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mmgrec_engine.errors import ConfigError
from mmgrec_engine.ops.forward_only import on_triton
from mmgrec_engine.ops.work import Work


def feed_forward_norm(
    x: Tensor,
    into: tuple[Tensor, Tensor],
    out_of: tuple[Tensor, Tensor],
    norm_weight: Tensor,
    norm_bias: Tensor,
    *,
    backend: str = "reference",
) -> Tensor:
    """Two maps with a rectifier between, what went around added, normalised.

    ::

        out = layer_norm(x + relu(x W_1^T + b_1) W_2^T + b_2)

    Parameters
    ----------
    x : Tensor
        ``[..., E]``.
    into, out_of : (Tensor, Tensor)
        W_1 ``[F, E]`` and b_1 ``[F]``; W_2 ``[E, F]`` and b_2 ``[E]``.
    norm_weight, norm_bias : Tensor
        ``[E]``.
    backend : {"triton", "reference"}
        As of `mmgrec_engine.ops.linear_norm.linear_norm`; the F hidden numbers of a row then exist
        in registers only.

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
    tensors = (x, *into, *out_of, norm_weight, norm_bias)
    width, inner = x.shape[-1], into[0].shape[0]
    wanted = ((inner, width), (inner,), (width, inner), (width,), (width,), (width,))
    if any(t.shape != shape for t, shape in zip(tensors[1:], wanted, strict=True)):
        raise ConfigError(
            "feed_forward_norm: x, the weights and the norm do not fit together",
            value=", ".join(str(tuple(t.shape)) for t in tensors),
            allowed="[..., E], [F, E], [F], [E, F], [E], [E], [E]",
        )
    if on_triton("feed_forward_norm", backend, *tensors):
        from mmgrec_engine.kernels import feed_forward_norm as kernel
        from mmgrec_engine.kernels.linear_norm import WIDEST

        if width <= WIDEST:
            return kernel.feed_forward_norm(*tensors)
    return feed_forward_norm_reference(x, into, out_of, norm_weight, norm_bias)


def feed_forward_norm_reference(
    x: Tensor,
    into: tuple[Tensor, Tensor],
    out_of: tuple[Tensor, Tensor],
    norm_weight: Tensor,
    norm_bias: Tensor,
) -> Tensor:
    """Do the same in torch: test oracle and baseline."""
    added = x + F.linear(torch.relu(F.linear(x, *into)), *out_of)
    return F.layer_norm(added, norm_weight.shape, norm_weight, norm_bias)


def feed_forward_norm_work(rows: int, width: int, inner: int, *, itemsize: int = 4) -> Work:
    """Return operations and bytes: two products, and every array once."""
    numbers = 2 * rows * width + inner * (2 * width + 1) + 3 * width
    return Work(4 * rows * inner * width, itemsize * numbers)
