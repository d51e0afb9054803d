"""Calling the C++ core: tensors as arrays, its errors as ours, the caller's thread count."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from mmgrec_engine import _native
from mmgrec_engine.errors import ArtifactError, ConfigError


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


@contextmanager
def named_errors(op: str) -> Iterator[None]:
    """Turn what the core refuses into a `ConfigError` or `ArtifactError` that names the op."""
    try:
        yield
    except _native.DamagedFile as error:
        raise ArtifactError(
            f"{op}: {error}", remedy="restore the trie's file from a copy, or write it again"
        ) from None
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{op}: {str(error).splitlines()[0]}") from None
