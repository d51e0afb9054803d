"""How the rq_assign kernel is cut for a width and a target: a small table, each line compiled.

::

    setup_for(64, "sm_90", split_codebook=True)   -> Setup(64 rows, 64 codes, ..., parts=3)
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Setup:
    """How the kernel is cut: rows and codes per block, columns per chunk, warps, stages, parts.

    ``parts``: 1, one fp32 dot; 2, the residual split for TF32 (16-bit codewords are exact in it);
    3, the codewords split too.
    """

    block_rows: int
    block_codes: int
    chunk: int
    warps: int
    stages: int
    parts: int


Lines = tuple[tuple[int, tuple[int, int, int, int, int]], ...]

# Widest D, then rows, codes, chunk, warps, stages. A table and no autotuner: it could not be
# exercised without a GPU, and its first call would time launches inside a CUDA graph's capture.
# Every line is compiled for every target in kernels/resources.json: none spills.
#
# Warp-level matrix units (sm_80 and all that is not below). Triton lays the warps along the rows
# where rows >= codes and along the codes otherwise, and each warp then keeps whole rows of the
# other operand: 64 rows x 64 columns in two parts are the most that stays without a spill, so wider
# rows come in blocks of 32, warps along the codes. Wide D takes no software pipeline: one stage of
# code tiles is 8 x D x codes bytes, 256 KiB at D = 512.
_WARP_LEVEL: Lines = (
    (32, (64, 32, 32, 4, 3)),
    (64, (64, 32, 64, 4, 3)),
    (128, (32, 64, 32, 8, 1)),
    (256, (32, 64, 32, 8, 1)),
    (512, (32, 64, 64, 8, 1)),
)
# wgmma (sm_90) and tcgen05 (sm_100) want 64 rows; from 256 columns on these spill or, on sm_100,
# do not fit the tensor memory, and 32 rows run on the warp-level units.
_WARP_GROUPS: Lines = (
    (32, (64, 64, 32, 8, 3)),
    (64, (64, 64, 64, 8, 2)),
    (128, (64, 64, 32, 8, 1)),
    *_WARP_LEVEL[3:],
)
# gfx942: 64 KiB of LDS and whole fp32 products.
_GFX942: Lines = (
    (128, (64, 32, 64, 4, 1)),
    (256, (32, 32, 64, 4, 1)),
    (512, (16, 32, 64, 4, 1)),
)
WIDEST = 512


def setup_for(width: int, target: str, split_codebook: bool) -> Setup:
    """Look up the setup for rows of ``width`` columns on ``target`` ("sm_90", "gfx942", "cpu")."""
    lines = _WARP_LEVEL
    if target in ("sm_90", "sm_100", "sm_103"):
        lines = _WARP_GROUPS
    elif not target.startswith("sm_"):
        lines = _GFX942
    rows, codes, chunk, warps, stages = next(cut for widest, cut in lines if width <= widest)
    if target in ("sm_86", "sm_89", "sm_120", "sm_121") and width > 256:
        rows = 16  # these have 99 KiB of shared memory per block
    parts = (3 if split_codebook else 2) if target.startswith("sm_") else 1
    return Setup(rows, codes, chunk, warps, stages, parts)
