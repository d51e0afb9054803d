"""Calling the C++ core with tensors: as arrays, and only those that it can read."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from mmgrec_engine.errors import ConfigError


def array(tensor: Tensor) -> NDArray[Any]:
    """View a tensor as an array (copied only where it is not contiguous or on another device)."""
    view: NDArray[Any] = tensor.detach().cpu().contiguous().numpy()
    return view


def rows(tensor: Tensor) -> NDArray[Any]:
    """View a CPU tensor as an array of rows with any strides (copied only where rows are not)."""
    tensor = tensor.detach()
    if tensor.stride(-1) != 1 and tensor.shape[-1] > 1:
        tensor = tensor.contiguous()
    view: NDArray[Any] = tensor.numpy()
    return view


def needs_registered_op(*tensors: Tensor) -> bool:
    """Say whether a call must go through torch's registry: for gradients, compiling and tracing.

    Elsewhere it is left out: its dispatch takes about as long as the kernel on one short history.
    """
    if torch.compiler.is_compiling() or any(type(x) is not Tensor for x in tensors):
        return True
    return torch.is_grad_enabled() and any(x.requires_grad for x in tensors)


def check_float32(op: str, *tensors: Tensor) -> None:
    """Refuse what the core cannot read.

    Raises
    ------
    ConfigError
        A tensor is not float32, or not on the CPU.
    """
    for tensor in tensors:
        if tensor.dtype != torch.float32 or tensor.device.type != "cpu":
            raise ConfigError(
                f"{op}: the native backend cannot take this tensor",
                value=f"{tensor.dtype} on {tensor.device}",
                allowed="float32 on the CPU",
                remedy='convert it, or take backend="reference"',
            )
