"""What a kernel is compiled as: one description serves the launch and the ahead-of-time report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Compilation:
    """One kernel at one configuration.

    ``kernel``: the ``@triton.jit`` function. ``signature``: Triton type of every argument that is
    no constant ("*fp32", "*i32", "i32"). ``constexprs``: the others. ``config``: what a reader
    knows it by, for example ``{"dtype": "bf16", "head_width": 64}``. ``matrix_units``: whether the
    code must hold tensor-core instructions (16-bit inputs; fp32 where it asks for TF32 parts).
    """

    name: str
    kernel: Any
    signature: Mapping[str, str]
    constexprs: Mapping[str, Any]
    num_warps: int
    num_stages: int
    config: Mapping[str, int | str]
    matrix_units: bool

    @property
    def products(self) -> int:
        """How many products on matrix units stand for one of the numbers: parts of fp32 in TF32."""
        if "PARTS" in self.constexprs:
            return int(self.constexprs["PARTS"])
        return 3 if self.constexprs.get("PRECISION") == "tf32x3" else 1
