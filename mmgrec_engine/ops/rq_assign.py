"""Residual quantisation: the nearest codeword on every level, residual by residual."""

from __future__ import annotations

import torch
from torch import Tensor

from mmgrec_engine.errors import ConfigError


def rq_assign_reference(x: Tensor, codebooks: Tensor) -> tuple[Tensor, Tensor]:
    """Quantise rows on all levels.

    ::

        r = x
        for every level:  code = argmin_k ||r - C[level, k]||^2   ties to the lowest index
                          r   -= C[level, code]

    Parameters
    ----------
    x : Tensor
        ``[N, D]`` rows.
    codebooks : Tensor
        ``[S, K, D]``: S semantic levels of K codewords.

    Returns
    -------
    codes : Tensor
        ``[N, S]`` int64.
    residual_norms : Tensor
        ``[N]`` squared norm of what is left after the last level.

    Raises
    ------
    ConfigError
        Shapes do not fit, or ``x`` holds NaN or infinity (a distance would be meaningless).
    """
    if x.dim() != 2 or codebooks.dim() != 3 or x.shape[1] != codebooks.shape[2]:
        raise ConfigError(
            "rq_assign: rows and codebooks do not fit together",
            value=f"{tuple(x.shape)} and {tuple(codebooks.shape)}",
            allowed="[N, D] and [S, K, D]",
        )
    if not torch.isfinite(x).all():
        raise ConfigError("rq_assign: a row holds NaN or infinity", allowed="finite numbers")
    residual = x
    codes = []
    for codebook in codebooks:
        # ||r||^2 is the same for all codewords of a row and cannot change the argmin.
        distance = (codebook * codebook).sum(1) - 2.0 * residual @ codebook.T
        code = distance.argmin(1)
        residual = residual - codebook[code]
        codes.append(code)
    return torch.stack(codes, 1), (residual * residual).sum(1)


rq_assign = rq_assign_reference
"""The op; the kernels of later versions stand beside the reference under this name."""
