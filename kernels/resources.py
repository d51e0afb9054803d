"""What a compiled kernel takes, read from its machine code: registers, spills, instructions.

::

    cubin  -> cuobjdump --dump-resource-usage    registers, stack, static shared memory
           -> cuobjdump -sass                    STL/LDL (spills), instructions by class
    amdgcn -> the metadata and v_mfma            registers, AGPRs, spills, scratch
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import triton

from mmgrec_engine.errors import MMGRecError
from mmgrec_engine.kernels.sass import access_widths, instruction_mix, matrix_instructions

TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
RESERVED_SHARED = 1024
"""Bytes of every block that cuobjdump counts as the kernel's own from sm_90 on."""


@dataclass(frozen=True)
class Resources:
    """Per thread: registers (AGPRs included) and spilled bytes; matrix instructions by name.

    ``static_shared``: bytes of shared memory that the code itself reserves, the block's own 1 KiB
    of sm_90 and later left out. ``mix``, ``widths``: see `mmgrec_engine.kernels.sass`.
    """

    registers: int
    spill_bytes: int
    matrix: dict[str, int]
    static_shared: int = 0
    mix: dict[str, int] = field(default_factory=dict)
    widths: dict[str, dict[str, int]] = field(default_factory=dict)


def run_tool(name: str, *arguments: str) -> str:
    """Output of a tool that comes with triton; its complaint when it fails."""
    done = subprocess.run([TOOLS / name, *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise MMGRecError(f"{name} failed", value=(done.stderr or done.stdout).strip()[-400:])
    return done.stdout


def tool_version(name: str) -> str:
    """Version of a tool that comes with triton, as "13.1.80"."""
    found = re.search(r"V(\d+\.\d+\.\d+)", run_tool(name, "--version"))
    return found.group(1) if found else "unknown"


def from_sass(usage: str, sass: str) -> Resources:
    """Resources from the two outputs of cuobjdump.

    Register spills show as a stack frame and as STL/LDL (stores and loads of local memory);
    either counts, whichever says more.
    """
    found = re.search(r"REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)", usage)
    if found is None:
        raise MMGRecError("cuobjdump names no registers", value=usage.strip()[-400:])
    registers, stack, shared, local = (int(number) for number in found.groups())
    mix = instruction_mix(sass)
    return Resources(
        registers,
        max(stack + local, 4 * mix.get("local", 0)),
        matrix_instructions(sass),
        max(shared - RESERVED_SHARED * (architecture_of(sass) >= 90), 0),
        mix,
        access_widths(sass),
    )


def architecture_of(sass: str) -> int:
    """Tell the architecture that a disassembly is of; 0 where it does not say."""
    found = re.search(r"code for sm_(\d+)", sass)
    return int(found.group(1)) if found else 0


def from_cubin(cubin: bytes) -> Resources:
    """Resources of a compiled NVIDIA kernel."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(cubin)
        usage = run_tool("cuobjdump", "--dump-resource-usage", str(path))
        return from_sass(usage, run_tool("cuobjdump", "-sass", str(path)))


def from_amdgcn(assembly: str) -> Resources:
    """Resources of a compiled AMD kernel; ``.vgpr_count`` includes the AGPRs on gfx942."""

    def number(name: str) -> int:
        found = re.search(rf"\.{name}:\s+(\d+)", assembly)
        return int(found.group(1)) if found else 0

    spilled = 4 * (number("vgpr_spill_count") + number("sgpr_spill_count"))
    matrix = len(re.findall(r"\bv_mfma_", assembly))
    return Resources(
        number("vgpr_count"),
        max(spilled, number("private_segment_fixed_size")),
        {"MFMA": matrix} if matrix else {},
    )
