"""Predicted occupancy: how many warps of a kernel fit on one multiprocessor, and what limits them.

::

    blocks   = min over resources of (what the processor has // what one block takes)
    resident = blocks * warps per block;  occupancy = resident / the most that fit

Sources: CUDA C++ Programming Guide, "Technical Specifications per Compute Capability", and the
allocation units of the CUDA occupancy calculator (Nsight Compute): registers in units of 256 per
warp and four warps at a time, shared memory in units of 128 bytes with 1 KiB kept per block. AMD
CDNA3 ISA reference guide, section 3.6 (512 vector registers per lane, AGPRs included, in units of
8) and the CDNA3 white paper (4 SIMDs of 8 waves and 64 KiB of LDS per compute unit).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mmgrec_engine.errors import ConfigError


@dataclass(frozen=True)
class Processor:
    """One multiprocessor or compute unit. Bytes of shared memory: in all, and for one block."""

    most_warps: int
    most_blocks: int
    shared_bytes: int
    shared_per_block: int
    shared_kept: int
    shared_unit: int
    backend: str
    architecture: int | str
    lanes: int


def _nvidia(architecture: int, shared_kib: int) -> Processor:
    """All of sm_80, sm_90 and sm_100 have 64 warps, 32 blocks and 65,536 registers."""
    kib = 1024
    return Processor(
        64, 32, shared_kib * kib, (shared_kib - 1) * kib, kib, 128, "cuda", architecture, 32
    )


PROCESSORS = {
    "sm_80": _nvidia(80, 164),
    "sm_90": _nvidia(90, 228),
    "sm_100": _nvidia(100, 228),
    "gfx942": Processor(32, 32, 65536, 65536, 0, 512, "hip", "gfx942", 64),
}


@dataclass(frozen=True)
class Occupancy:
    """``resident`` warps of one processor as a share of the most, and the resource that limits.

    ``blocks``: how many blocks each resource alone would let in.
    """

    resident: int
    share: float
    limit: str
    blocks: Mapping[str, int]


def processor(target: str) -> Processor:
    """Look a target up by its name."""
    if target not in PROCESSORS:
        raise ConfigError(
            "unknown target", value=target, allowed=", ".join(PROCESSORS), remedy="choose a target"
        )
    return PROCESSORS[target]


def _round_up(value: int, unit: int) -> int:
    return -(-value // unit) * unit


def _warps_by_registers(target: str, registers: int) -> int:
    """Warps whose registers fit."""
    if target == "gfx942":
        return 4 * min(8, 512 // _round_up(max(registers, 1), 8))
    per_warp = _round_up(max(registers, 1) * 32, 256)
    return 65536 // per_warp // 4 * 4  # each of four schedulers has its own quarter


def occupancy(target: str, registers: int, shared_bytes: int, warps: int) -> Occupancy:
    """Predict how a kernel fills a processor.

    ::

        occupancy("sm_90", registers=128, shared_bytes=0, warps=8)   -> 16 of 64 warps, registers

    Parameters
    ----------
    target : str
        A name in ``PROCESSORS``.
    registers : int
        Per thread; on gfx942 vector and accumulation registers together.
    shared_bytes : int
        Per block.
    warps : int
        Per block.

    Returns
    -------
    Occupancy
        No resident warp if one block takes more than there is.
    """
    unit = processor(target)
    shared = _round_up(shared_bytes + unit.shared_kept, unit.shared_unit)
    blocks = {
        "registers": _warps_by_registers(target, registers) // warps,
        "shared memory": unit.shared_bytes // shared if shared else unit.most_blocks,
        "warps": unit.most_warps // warps,
        "blocks": unit.most_blocks,
    }
    if shared_bytes > unit.shared_per_block:
        blocks["shared memory"] = 0
    limit = min(blocks, key=lambda resource: blocks[resource])
    resident = blocks[limit] * warps
    return Occupancy(resident, resident / unit.most_warps, limit, blocks)
