"""What a kernel's machine code consists of: its instructions counted by class, statically.

::

    "@P0 LDG.E.128 R4, [R2.64] ;"  ->  mnemonic LDG.E.128  ->  global loads, 128 bits wide
    mix = instruction_mix(text of cuobjdump -sass)

Static: every instruction of the code counts once, in a loop or not, and for all warps alike. What a
launch executes is for Nsight Compute to count. Mnemonics: "Instruction Set Reference" of the CUDA
Binary Utilities.
"""

from __future__ import annotations

import re
from collections import Counter

# A line of code: its offset, a predicate or none, the mnemonic, the operands.
_LINE = re.compile(r"^\s*/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)\s*([^;]*);", re.M)
_MATRIX = re.compile(r"([HIBDQO]MMA|[HIQB]GMMA|UTC[A-Z]*MMA)\b")
# Multiply-adds of nothing are how a register or a constant reaches another register: which pipe is
# idle decides, no arithmetic is meant.
_MOVE = re.compile(r"(?:IMAD\.MOV|(?:IMAD\.U32|HFMA2)\S* R\w+, -?RZ, RZ,)")

CLASSES: dict[str, tuple[str, ...]] = {
    "fma": ("FFMA",),
    "add_mul": ("FADD", "FMUL"),
    "float_other": (
        *("FSETP", "FSEL", "FMNMX", "FMNMX3", "FSET", "FCHK", "FSWZADD", "FCMP"),
        *("HADD2", "HMUL2", "HFMA2", "HSET", "HMNMX2", "DADD", "DMUL", "DFMA", "DSETP"),
    ),
    "convert": ("F2F", "F2I", "I2F", "FRND", "I2I", "I2FP", "F2IP", "F2FP"),
    "special": ("MUFU",),
    "global_load": ("LDG", "LD"),
    "global_store": ("STG", "ST"),
    "shared_load": ("LDS", "LDSM"),
    "shared_store": ("STS", "STSM"),
    "local": ("LDL", "STL"),
    "constant": ("LDC", "ULDC", "LDCU"),
    "async_copy": (
        *("LDGSTS", "LDGDEPBAR", "DEPBAR", "UBLKCP", "UBLKPF", "UTMALDG", "UTMASTG", "UTMAPF"),
        *("UTMACMDFLUSH", "UTMAREDG", "UTMACCTL"),
    ),
    "tensor_memory": ("LDTM", "STTM", "UTCCP", "UTCATOMSWS", "UTCBAR", "UTCSHIFT"),
    "atomic": ("ATOM", "ATOMG", "ATOMS", "RED", "REDG"),
    "barrier": (
        *("BAR", "SYNCS", "MEMBAR", "FENCE", "WARPSYNC", "WARPGROUP", "WARPGROUPSET", "ERRBAR"),
        *("CCTL", "UCGABAR_ARV", "UCGABAR_WAIT", "ELECT", "ACQBULK"),
    ),
    "exchange": ("SHFL", "VOTE", "VOTEU", "MATCH", "REDUX", "CREDUX"),
    "control": (
        *("BRA", "EXIT", "CALL", "RET", "BSSY", "BSYNC", "BREAK", "JMP", "BRX", "JMX"),
        *(
            "YIELD",
            "NANOSLEEP",
            "BPT",
            "KILL",
            "BMOV",
            "PREEXIT",
            "USETMAXREG",
            "ENDCOLLECTIVE",
            "UVIRTCOUNT",
        ),
    ),
    "move": (
        *("MOV", "UMOV", "SEL", "USEL", "PRMT", "UPRMT", "S2R", "S2UR", "CS2R", "CS2UR", "R2UR"),
        *("P2R", "R2P", "UP2UR", "UR2UP", "MOVM", "R2B", "B2R"),
    ),
    "integer": (
        *("IADD", "IADD3", "IMAD", "IMUL", "IABS", "IMNMX", "ISETP", "LEA", "LOP3", "SHF", "SHL"),
        *("SHR", "SGXT", "POPC", "FLO", "BREV", "BMSK", "PLOP3", "LOP", "XMAD", "ICMP", "ISCADD"),
        *("VIADD", "VIMNMX", "VIADDMNMX", "VIMNMX3", "IDP", "IDP4A", "UIADD3", "UIMAD", "UISETP"),
        *("ULEA", "ULOP3", "USHF", "USGXT", "UPOPC", "UFLO", "UBREV", "UBMSK", "UPLOP3", "UIABS"),
        *("UVIADD", "UVIMNMX", "UIMNMX"),
    ),
}
"""Mnemonics up to the first dot by class; Blackwell's packed FADD2, FMUL2, FFMA2 are with theirs.
Matrix instructions have a class of their own, whatever is unknown is "other"."""

_CLASS_OF = {name: kind for kind, names in CLASSES.items() for name in names}
_CLASS_OF |= {"FFMA2": "fma", "FADD2": "add_mul", "FMUL2": "add_mul"}

MIX = ("matrix", *CLASSES, "other")
"""All classes, in the order of a report."""

_WIDE = ("global_load", "global_store", "shared_load", "shared_store")


def class_of(mnemonic: str, operands: str = "") -> str | None:
    """Tell an instruction's class; None for a NOP, which only aligns."""
    base = mnemonic.split(".")[0]
    if base == "NOP":
        return None
    if _MATRIX.match(base):
        return "matrix"
    if _MOVE.match(f"{mnemonic} {operands}"):
        return "move"
    return _CLASS_OF.get(base, "other")


def access_bits(mnemonic: str) -> int:
    """Bits that one thread's load or store moves: 32 unless the mnemonic says otherwise."""
    parts = mnemonic.split(".")
    if parts[0] in ("LDSM", "STSM"):  # a row of 16 bytes per thread and matrix, 32 bits each kept
        return 32 * next((int(p) for p in reversed(parts) if p in ("2", "4")), 1)
    for part in parts[1:]:
        if part in ("64", "128", "256"):
            return int(part)
        if part in ("U8", "S8", "U16", "S16"):
            return int(part[1:])
    return 32


def instructions(sass: str) -> list[tuple[str, str]]:
    """Mnemonic and operands of every instruction, in the code's order."""
    return [(found[1], found[2].strip()) for found in _LINE.finditer(sass)]


def instruction_mix(sass: str) -> dict[str, int]:
    """Count instructions by class, in the order of `MIX`; classes without any are left out."""
    counts = Counter(class_of(*line) for line in instructions(sass))
    return {kind: counts[kind] for kind in MIX if counts[kind]}


def access_widths(sass: str) -> dict[str, dict[str, int]]:
    """Count loads and stores by class and by bits per thread, widest first."""
    found: dict[str, Counter[int]] = {kind: Counter() for kind in _WIDE}
    for mnemonic, operands in instructions(sass):
        kind = class_of(mnemonic, operands)
        if kind in found:
            found[kind][access_bits(mnemonic)] += 1
    return {
        kind: {str(bits): counts[bits] for bits in sorted(counts, reverse=True)}
        for kind, counts in found.items()
        if counts
    }


def matrix_instructions(sass: str) -> dict[str, int]:
    """Count matrix instructions by name."""
    names = [line[0].split(".")[0] for line in instructions(sass) if class_of(*line) == "matrix"]
    return dict(sorted(Counter(names).items()))
