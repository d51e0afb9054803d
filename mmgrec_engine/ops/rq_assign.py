"""Residual quantisation: the nearest codeword on every level, residual by residual.

Shapes: N rows, D width, S levels, K codewords of a level.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from mmgrec_engine import _native
from mmgrec_engine.errors import BackendError, ConfigError
from mmgrec_engine.native_errors import named_errors
from mmgrec_engine.ops.native_call import array, check_float32, needs_registered_op, rows
from mmgrec_engine.ops.work import Work

BACKENDS = ("native", "triton", "reference")


class Assignment(NamedTuple):
    """What `rq_assign` returns.

    ``codes`` ``[N, S]`` int64. ``residual_norms`` ``[N]``: squared norm of what is left after the
    last level. ``top2`` ``[N, S, 2]`` or None: squared distances of the two nearest codewords.
    """

    codes: Tensor
    residual_norms: Tensor
    top2: Tensor | None


def rq_assign(
    x: Tensor,
    codebooks: Tensor,
    *,
    top2: bool = False,
    check: bool = True,
    backend: str = "reference",
) -> Assignment:
    """Quantise rows on all levels.

    ::

        r = x
        for every level:  code = argmin_k ||r - C[level, k]||^2   ties to the lowest index
                          r   -= C[level, code]

    No gradient flows through codes and norms.

    Parameters
    ----------
    x : Tensor
        ``[N, D]`` rows.
    codebooks : Tensor
        ``[S, K, D]``: S semantic levels of K codewords.
    top2 : bool
        Also return the squared distances of the nearest and second nearest codeword per level
        (infinity where K is 1).
    check : bool
        Refuse rows that hold NaN or infinity. Costs nothing on the CPU; on a GPU it waits for the
        result. Unchecked, such a row gets code -1 (native, triton), never a plausible one.
    backend : {"reference", "native", "triton"}
        As chosen by `mmgrec_engine.ops.backends.choose`. ``native`` takes float32 on the CPU,
        ``triton`` float32, bfloat16 and float16 rows on a GPU.

    Raises
    ------
    ConfigError
        Shapes or types do not fit, there is no codeword, or a row holds NaN or infinity.
    BackendError
        The backend is unknown.
    """
    _check_shapes(x, codebooks)
    if backend not in BACKENDS:
        raise BackendError(
            "rq_assign has no such backend", value=backend, allowed=", ".join(BACKENDS)
        )
    with torch.no_grad():
        found: Assignment = _RUN[backend](x, codebooks, top2)
        # A row that is not finite leaves a norm that is not; so do codewords that are not.
        if check and not torch.isfinite(found.residual_norms).all():
            raise ConfigError(
                "rq_assign: rows or codebooks hold NaN or infinity",
                value=f"row {int(torch.isfinite(found.residual_norms).long().argmin())}",
                allowed="finite numbers",
            )
    return found


def rq_assign_reference(x: Tensor, codebooks: Tensor, top2: bool = False) -> Assignment:
    """Do the same as written on paper: test oracle and slowest baseline."""
    residual = x
    codes, nearest = [], []
    for codebook in codebooks:
        # ||r||^2 is the same for all codewords of a row and cannot change the argmin.
        distance = (codebook * codebook).sum(1) - 2.0 * residual @ codebook.T
        code = distance.argmin(1)
        if top2:
            nearest.append(_two_nearest(distance, (residual * residual).sum(1)))
        residual = residual - codebook[code]
        codes.append(code)
    norms = (residual * residual).sum(1)
    return Assignment(torch.stack(codes, 1), norms, torch.stack(nearest, 1) if top2 else None)


def rq_assign_work(rows: int, width: int, levels: int, size: int, *, itemsize: int = 4) -> Work:
    """Return operations and bytes of quantising N rows.

    ::

        2 N S K D operations for the inner products (the argmin is not counted)
        rows and codebooks read once; int64 codes and a float norm written once
    """
    written = rows * (8 * levels + 4)
    moved = itemsize * (rows * width + levels * size * width) + written
    return Work(2 * rows * levels * size * width, moved)


def _two_nearest(distance: Tensor, norm: Tensor) -> Tensor:
    values = distance.topk(min(2, distance.shape[1]), dim=1, largest=False).values
    if values.shape[1] == 1:
        values = torch.cat([values, torch.full_like(values, float("inf"))], 1)
    return (values + norm[:, None]).clamp_min(0)


def _run_native(x: Tensor, codebooks: Tensor, top2: bool) -> Assignment:
    check_float32("rq_assign", x, codebooks)
    traced = needs_registered_op(x, codebooks)
    run = torch.ops.mmgrec.rq_assign_native if traced else _native_assign
    codes, norms, nearest = run(x, codebooks, top2)
    return Assignment(codes, norms, nearest if top2 else None)


def _native_assign(x: Tensor, codebooks: Tensor, top2: bool) -> tuple[Tensor, Tensor, Tensor]:
    codes, norms, nearest = _empty(x, codebooks, top2)
    with named_errors("rq_assign"):
        _native.rq_assign(
            rows(x),
            array(codebooks),
            codes.numpy(),
            norms.numpy(),
            nearest.numpy() if top2 else None,
            torch.get_num_threads(),
        )
    return codes, norms, nearest


_registered = torch.library.custom_op("mmgrec::rq_assign_native", _native_assign, mutates_args=())


@_registered.register_fake
def _empty(x: Tensor, codebooks: Tensor, top2: bool) -> tuple[Tensor, Tensor, Tensor]:
    count, levels = x.shape[0], codebooks.shape[0]
    return (
        x.new_empty(count, levels, dtype=torch.int64),
        x.new_empty(count),
        x.new_empty(count if top2 else 0, levels, 2),
    )


def _run_triton(x: Tensor, codebooks: Tensor, top2: bool) -> Assignment:
    from mmgrec_engine.kernels import rq_assign as kernel

    return Assignment(*kernel.rq_assign(x, codebooks, top2=top2))


_RUN: dict[str, Any] = {
    "native": _run_native,
    "triton": _run_triton,
    "reference": rq_assign_reference,
}


def _check_shapes(x: Tensor, codebooks: Tensor) -> None:
    fits = x.dim() == 2 and codebooks.dim() == 3 and x.shape[1] == codebooks.shape[2]
    if not fits or 0 in codebooks.shape:
        raise ConfigError(
            "rq_assign: rows and codebooks do not fit together",
            value=f"{tuple(x.shape)} and {tuple(codebooks.shape)}",
            allowed="[N, D] and [S, K, D], with at least one level and codeword",
        )
