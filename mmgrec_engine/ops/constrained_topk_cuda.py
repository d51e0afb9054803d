"""`constrained_topk` on a CUDA device: tensors in, tensors out, on torch's current stream.

Nothing here waits for the device or reads from it, so that a step can be captured in a CUDA graph;
the first step on a catalogue copies it to the device and must come before a capture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from mmgrec_engine import _native
from mmgrec_engine.catalog.filters import RankFilter
from mmgrec_engine.catalog.trie import Trie
from mmgrec_engine.errors import BackendError, ConfigError
from mmgrec_engine.ops.constrained_topk import Beams, BeamStep, Nodes
from mmgrec_engine.ops.native_call import named_errors

# The stub of a build without CUDA has none of these names.
_device: Any = _native

STATUS = {
    1: "NaN among scores, logits or node vectors",
    2: "a beam's range lies outside the catalogue",
    4: "node tables do not fit the trie",
}
"""Bits of a status word: what the other backends raise, and a device cannot."""


@dataclass(frozen=True)
class DeviceFilters:
    """Prepared filters of a batch on the device.

    ``memory`` is a uint8 tensor aligned to 16 bytes as `FilterPack` (csrc/ops/filter_pack.h) writes
    it for the tensor's own address: one ``UserFilter`` per user, then the arrays these point to.
    """

    memory: Tensor


_copies: WeakKeyDictionary[Trie, dict[torch.device, Any]] = WeakKeyDictionary()


def device_catalog(trie: Trie, device: torch.device) -> Any:  # noqa: ANN401
    """Return the copy of a trie on a device, made once, on the current stream, and kept with it."""
    copies = _copies.setdefault(trie, {})
    if device not in copies:
        with torch.cuda.device(device):
            stream = torch.cuda.current_stream()
            copies[device] = _device.DeviceCatalog(trie.native, stream.cuda_stream)
            # Once: later steps may be on other streams.
            stream.synchronize()
    return copies[device]


def cuda_step(
    trie: Trie,
    level: int,
    beams: Beams,
    logits: Tensor,
    width: int,
    nodes: Nodes | None = None,
    filters: RankFilter | DeviceFilters | None = None,
    normalise: str = "catalogue",
    status: Tensor | None = None,
) -> BeamStep:
    """Queue one step; parameters as of `constrained_topk`, all tensors on one CUDA device.

    Parameters
    ----------
    trie, level, beams, logits, width, nodes, normalise
        See `constrained_topk`.
    filters : DeviceFilters, optional
        Filters on the same device.
    status : Tensor, optional
        ``[B]`` int32, overwritten with bits of `STATUS` for what was wrong with a user's input;
        the children or beams concerned are dead.

    Raises
    ------
    ConfigError
        Shapes do not fit together, or a tensor is of another type or not on the device.
    BackendError
        Filters are not on the device.
    """
    if isinstance(filters, RankFilter):
        raise BackendError(
            "constrained_topk: filters are on the host",
            allowed="DeviceFilters",
            remedy='move them to the device, or take backend="native"',
        )
    _check_device(logits, beams.lo, beams.hi, beams.scores)
    step = _empty_step(len(beams.lo), width, logits.device)
    with named_errors("constrained_topk"), torch.cuda.device(logits.device):
        _device.constrained_topk_cuda(
            device_catalog(trie, logits.device),
            level,
            lo=beams.lo.contiguous(),
            hi=beams.hi.contiguous(),
            added_lo=None,
            added_hi=None,
            scores=beams.scores.detach().contiguous(),
            logits=logits.detach().contiguous(),
            softmax_over_level=normalise == "full",
            node_query=nodes.query.detach().contiguous() if nodes else None,
            node_vectors=nodes.vectors if nodes else None,
            node_starts=nodes.starts if nodes else None,
            filters=filters.memory if filters else None,
            **{f"out_{name}": tensor for name, tensor in vars(step).items()},
            out_added_lo=None,
            out_added_hi=None,
            out_status=status,
            stream=torch.cuda.current_stream().cuda_stream,
        )
    return step


def _check_device(*tensors: Tensor) -> None:
    """Say plainly what the bindings would call incompatible arguments."""
    for tensor in tensors:
        if tensor.device.type != "cuda":
            raise ConfigError(
                "constrained_topk: the cuda backend cannot take this tensor",
                value=f"{tensor.dtype} on {tensor.device}",
                allowed="tensors on one CUDA device",
                remedy='move them there, or take backend="native"',
            )


def _empty_step(users: int, width: int, device: torch.device) -> BeamStep:
    """Allocate the outputs; the kernel writes every entry."""
    floats = torch.empty(users, width, device=device)
    integers = torch.empty(2, users, width, dtype=torch.int32, device=device)
    ranges = torch.empty(2, users, width, dtype=torch.int64, device=device)
    return BeamStep(
        scores=floats,
        parents=integers[0],
        tokens=integers[1],
        lo=ranges[0],
        hi=ranges[1],
        best_pruned=torch.empty(users, device=device),
    )
