"""Ops that Triton computes forward only: the reference takes over where a gradient is needed."""

from __future__ import annotations

import torch
from torch import Tensor

from mmgrec_engine.errors import BackendError

BACKENDS = ("triton", "reference")


def on_triton(op: str, backend: str, *differentiable: Tensor) -> bool:
    """Say whether Triton computes a call: it was chosen, and no gradient of these is needed.

    Raises
    ------
    BackendError
        The backend is unknown.
    """
    if backend not in BACKENDS:
        raise BackendError(f"{op} has no such backend", value=backend, allowed=", ".join(BACKENDS))
    needed = torch.is_grad_enabled() and any(x.requires_grad for x in differentiable)
    return backend == "triton" and not needed
