"""`constrained_topk` on a CUDA device: tensors in, tensors out, on torch's current stream.

Nothing here waits for the device or reads from it, so that a step can be captured in a CUDA graph;
the first step on a catalogue copies it to the device and must come before a capture.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from mmgrec_engine import _native
from mmgrec_engine.catalog.filters import RankFilter
from mmgrec_engine.catalog.searchable import Searchable
from mmgrec_engine.errors import ConfigError
from mmgrec_engine.native_errors import named_errors
from mmgrec_engine.ops.constrained_topk import Beams, BeamStep, Nodes

# The stub of a build without CUDA has none of these names.
_device: Any = _native

STATUS = {
    1: "NaN among scores, logits or node vectors",
    2: "a beam's range lies outside the catalogue",
    4: "node tables do not fit the trie",
}
"""Bits of a status word: what the other backends raise, and a device cannot."""


_copies: WeakKeyDictionary[Searchable, dict[torch.device, Any]] = WeakKeyDictionary()
_filters: WeakKeyDictionary[RankFilter, dict[tuple[int, torch.device], Tensor]] = (
    WeakKeyDictionary()
)


def device_catalog(catalog: Searchable, device: torch.device) -> Any:  # noqa: ANN401
    """Return a catalogue's copy on a device, made once, on the current stream, and kept with it."""
    copies = _copies.setdefault(catalog, {})
    if device not in copies:
        with torch.cuda.device(device):
            stream = torch.cuda.current_stream()
            copies[device] = _device.DeviceCatalog(catalog.native, stream.cuda_stream)
            # Once: later steps may be on other streams.
            stream.synchronize()
    return copies[device]


def device_filters(filters: RankFilter, catalog: Searchable, device: torch.device) -> Tensor:
    """Return prepared filters on a device as bytes, copied once per catalogue.

    One ``UserFilter`` per user, then the arrays they point to, as `FilterPack`
    (csrc/ops/filter_pack.h) writes them for the address of this very tensor.
    """
    copies = _filters.setdefault(filters, {})
    key = (id(catalog), device)
    if key not in copies:
        native = filters.prepared(catalog)  # keeps the catalogue, and so its id
        memory = torch.empty(native.packed_bytes, dtype=torch.uint8, device=device)
        memory.copy_(torch.from_numpy(native.pack(memory.data_ptr())))
        copies[key] = memory
    return copies[key]


def cuda_step(
    catalog: Searchable,
    level: int,
    beams: Beams,
    logits: Tensor,
    width: int,
    nodes: Nodes | None = None,
    filters: RankFilter | None = None,
    normalise: str = "catalogue",
    status: Tensor | None = None,
) -> BeamStep:
    """Queue one step; parameters as of `constrained_topk`, all tensors on one CUDA device.

    Parameters
    ----------
    catalog, level, beams, logits, width, nodes, filters, normalise
        See `constrained_topk`. Filters are copied to the device at their first step.
    status : Tensor, optional
        ``[B]`` int32, overwritten with bits of `STATUS` for what was wrong with a user's input;
        the children or beams concerned are dead.

    Raises
    ------
    ConfigError
        Shapes do not fit together, or a tensor is of another type or not on the device.
    """
    _check_device(logits, beams.lo, beams.hi, beams.scores)
    outputs = step_outputs(len(beams.lo), width, logits.device)
    added = (None, None) if beams.added is None else beams.added.unbind(2)
    queue_step(
        device_catalog(catalog, logits.device),
        level,
        {
            "lo": beams.lo.contiguous(),
            "hi": beams.hi.contiguous(),
            "added_lo": None if added[0] is None else added[0].contiguous(),
            "added_hi": None if added[1] is None else added[1].contiguous(),
            "scores": beams.scores.detach().contiguous(),
        },
        logits.detach().contiguous(),
        {**outputs, "status": status},
        nodes=nodes,
        filters=device_filters(filters, catalog, logits.device) if filters else None,
        normalise=normalise,
    )
    ranges = torch.stack([outputs.pop("added_lo"), outputs.pop("added_hi")], dim=2)
    return BeamStep(**outputs, added=ranges)


def queue_step(
    copy: Any,  # noqa: ANN401
    level: int,
    beams: Mapping[str, Tensor | None],
    logits: Tensor,
    outputs: Mapping[str, Tensor | None],
    *,
    nodes: Nodes | None = None,
    filters: Tensor | None = None,
    normalise: str = "catalogue",
) -> None:
    """Queue one step on plain arrays, all of them contiguous: what a planned search calls.

    Parameters
    ----------
    copy
        From `device_catalog`.
    level, logits, normalise
        See `constrained_topk`.
    beams : mapping
        ``lo``, ``hi``, ``added_lo``, ``added_hi`` int64 and ``scores`` float32, ``[B, M]``; added
        ranges are None where the catalogue has none.
    outputs : mapping
        From `step_outputs`, and ``status`` (see `cuda_step`) or None; all are overwritten.
    nodes : Nodes, optional
        On the device.
    filters : Tensor, optional
        Bytes as of `device_filters`.
    """
    with named_errors("constrained_topk"), torch.cuda.device(logits.device):
        _device.constrained_topk_cuda(
            copy,
            level,
            **beams,
            logits=logits,
            softmax_over_level=normalise == "full",
            node_query=nodes.query.detach().contiguous() if nodes else None,
            node_vectors=nodes.vectors if nodes else None,
            node_starts=nodes.starts if nodes else None,
            added_sums=nodes.added_sums if nodes else None,
            removed_sums=nodes.removed_sums if nodes else None,
            # Scratch: the kernel walks the children twice, and computes their terms once.
            node_logits=torch.empty_like(logits) if nodes else None,
            filters=filters,
            **{f"out_{name}": tensor for name, tensor in outputs.items()},
            stream=torch.cuda.current_stream().cuda_stream,
        )


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


def step_outputs(users: int, width: int, device: torch.device) -> dict[str, Tensor]:
    """Allocate the outputs by name; the kernel writes every entry."""
    integers = torch.empty(2, users, width, dtype=torch.int32, device=device)
    ranges = torch.empty(4, users, width, dtype=torch.int64, device=device)
    return {
        "scores": torch.empty(users, width, device=device),
        "parents": integers[0],
        "tokens": integers[1],
        "lo": ranges[0],
        "hi": ranges[1],
        "added_lo": ranges[2],
        "added_hi": ranges[3],
        "best_pruned": torch.empty(users, device=device),
    }
