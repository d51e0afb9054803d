"""NVTX ranges around ops, for timelines of Nsight Systems; off, and then nothing, by default."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

_NOTHING = nullcontext()
_on = False


def op_range(name: str) -> AbstractContextManager[None]:
    """Mark what a block queues on the GPU, if somebody asked for ranges."""
    return torch.cuda.nvtx.range(name) if _on else _NOTHING


@contextmanager
def ranges() -> Iterator[None]:
    """Turn the ops' ranges on for a while.

    ::

        with ranges():                      # under: nsys profile --trace cuda,nvtx python ...
            engine.recommend(histories)     # linear_norm, cross_attention_beams, ...

    A replayed CUDA graph has none: they belong to the calls that queue kernels.
    """
    global _on
    before, _on = _on, True
    try:
        yield
    finally:
        _on = before
