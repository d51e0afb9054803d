"""How the kernels of `relation_attention` are launched: tile table, layouts, arguments."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from triton.runtime import JITFunction

from mmgrec_engine.kernels.compilation import Compilation

WIDTHS = (16, 32, 64, 128)
"""Head widths that kernels are compiled for; others are padded to the next."""


@dataclass(frozen=True)
class Tiles:
    """Rows per tile, heads per program, warps and pipeline stages of one kernel."""

    queries: int
    keys: int
    heads: int
    warps: int
    stages: int


# From ahead-of-time reports (sm_80, sm_90, sm_100; nothing was timed): the largest tiles without
# spills, unless smaller ones let three programs share a processor instead of two.
#
# One warp holds one head (`warps == heads`): the batched product gives each warp one matrix, and
# row maxima and sums stay inside it. More warps would compute the same matrices twice.
# Registers on sm_90: forward 126, 161, 255, 221; at width 128, 32 x 32 spills 216 bytes.
# Query gradients at width 64: 164; 32 x 32 spills 8 to 56 bytes, 16 x 32 up to 32.
# Key gradients 181, 229, 214, and 247 + 184 in two launches: at width 128 both sums in one launch
# spill 32 to 230 bytes however it is written. A second stage costs shared memory, 78 KB at most.
HALF = {
    ("forward", 16): Tiles(32, 32, 4, 4, 2),
    ("forward", 32): Tiles(32, 32, 4, 4, 2),
    ("forward", 64): Tiles(32, 32, 4, 4, 2),
    ("forward", 128): Tiles(16, 16, 4, 4, 2),
    ("query_gradients", 16): Tiles(32, 32, 4, 4, 2),
    ("query_gradients", 32): Tiles(32, 32, 4, 4, 2),
    ("query_gradients", 64): Tiles(16, 16, 4, 4, 1),
    ("query_gradients", 128): Tiles(16, 16, 4, 4, 1),
    ("key_gradients", 16): Tiles(32, 32, 4, 4, 2),
    ("key_gradients", 32): Tiles(16, 32, 4, 4, 2),
    ("key_gradients", 64): Tiles(16, 16, 4, 4, 1),
    ("key_gradients", 128): Tiles(16, 16, 4, 4, 2),
}
# IEEE fp32 has no matrix units outside AMD: each thread keeps whole rows of its operands, and only
# many warps on few heads fit (4 warps on 4 heads at width 64: 384 and 1192 bytes spilled).
FULL = {
    ("forward", 16): Tiles(16, 16, 4, 4, 1),
    ("forward", 32): Tiles(16, 16, 4, 4, 1),
    ("forward", 64): Tiles(16, 16, 4, 4, 1),
    ("forward", 128): Tiles(16, 16, 1, 4, 1),
    ("query_gradients", 16): Tiles(16, 16, 4, 8, 2),
    ("query_gradients", 32): Tiles(16, 16, 4, 8, 1),
    ("query_gradients", 64): Tiles(16, 16, 4, 8, 2),
    ("query_gradients", 128): Tiles(8, 16, 1, 8, 1),
    ("key_gradients", 16): Tiles(16, 16, 4, 4, 1),
    ("key_gradients", 32): Tiles(16, 16, 4, 8, 1),
    ("key_gradients", 64): Tiles(16, 16, 1, 8, 1),
    ("key_gradients", 128): Tiles(16, 8, 1, 8, 1),
}

# AMD's matrix units take fp32, so there one warp holds one head as in 16 bits.
FULL_AMD = Tiles(16, 16, 4, 4, 1)


def padded_width(width: int) -> int:
    """Round up to a power of two, at least 16, the smallest side of a matrix instruction."""
    return max(16, 1 << (width - 1).bit_length())


def choose_tiles(
    kernel: str, width: int, num_heads: int, *, half: bool, amd: bool = False
) -> Tiles:
    """Tiles of a launch; a program never holds more heads than there are, rounded up."""
    table = HALF if half else FULL
    tiles = table[kernel, min(padded_width(width), WIDTHS[-1])]
    if amd and not half:
        tiles = FULL_AMD
    heads = min(tiles.heads, 1 << (num_heads - 1).bit_length())
    # All warps stay: with one warp per head, one or two heads spill up to 1464 bytes.
    return replace(tiles, heads=heads)


def sums_of_launches(kernel: str, width: int) -> list[dict[str, bool]]:
    """Which sums one launch keeps: wide heads take two launches, one alone fits the registers."""
    if kernel != "key_gradients":
        return [{}]
    if padded_width(width) <= 64:
        return [{"OF_K": True, "OF_V": True}]
    return [{"OF_K": True, "OF_V": False}, {"OF_K": False, "OF_V": True}]


def constants(
    tiles: Tiles, num_heads: int, width: int, packed: bool, precision: str
) -> dict[str, Any]:
    """Collect the compile-time arguments that all kernels share."""
    return {
        "NUM_HEADS": num_heads,
        "HEAD_WIDTH": width,
        "BLOCK_D": padded_width(width),
        "BLOCK_Q": tiles.queries,
        "BLOCK_K": tiles.keys,
        "GROUP": tiles.heads,
        "PACKED": packed,
        "PRECISION": precision,
    }


def rows_heads_width(like: Tensor, *, zero: bool) -> Tensor:
    """``[B, H, L, d]`` like another, with L before H in memory."""
    users, heads, rows, width = like.shape
    make = torch.zeros if zero else torch.empty
    empty = make((users, rows, heads, width), dtype=like.dtype, device=like.device)
    return empty.transpose(1, 2)


def addressable(x: Tensor, rows: int) -> Tensor:
    """Copy a tensor if its last axis has gaps or offsets within a user exceed 32 bits."""
    span = (rows - 1) * x.stride(-2) + (x.shape[1] - 1) * x.stride(1) * (x.dim() == 4)
    if x.stride(-1) == 1 and span + x.shape[-1] < 2**31:
        return x
    if x.dim() == 4:
        return x.transpose(1, 2).contiguous().transpose(1, 2)
    return x.contiguous()


@dataclass(frozen=True)
class Inputs:
    """The inputs of one call in a layout the kernels read, and what a launch needs of them."""

    tensors: tuple[Tensor, ...]
    strides: tuple[int, ...]
    users: int
    max_length: int
    packed: bool

    @classmethod
    def of(
        cls,
        heads: tuple[Tensor, ...],
        relations: tuple[Tensor, ...],
        gates: Tensor,
        lengths: Tensor,
        max_length: int,
        packed: bool,
    ) -> Inputs:
        """Copy what no kernel can address; collect strides in the kernels' order."""
        heads = tuple(addressable(x, max_length) for x in heads)
        relations = tuple(addressable(x, max_length) for x in relations)
        gates = gates if gates.stride(1) == 1 else gates.contiguous()
        strides = [stride for x in (*heads, *relations) for stride in x.stride()[:-1]]
        tensors = (*heads, *relations, gates, lengths.contiguous())
        users = gates.shape[0]
        return cls(tensors, (*strides, gates.stride(0)), users, max_length, packed)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to compute."""
        return self.tensors[0].numel() == 0 or self.users == 0 or self.max_length == 0

    def tiles(self, name: str) -> Tiles:
        """Tiles of a kernel for these inputs."""
        q = self.tensors[0]
        half, amd = q.dtype != torch.float32, torch.version.hip is not None
        return choose_tiles(name, q.shape[3], q.shape[1], half=half, amd=amd)

    def grid(self, name: str) -> tuple[int, int, int]:
        """Users, groups of heads, blocks of rows."""
        tiles = self.tiles(name)
        block = tiles.keys if name == "key_gradients" else tiles.queries
        groups = -(-self.tensors[0].shape[1] // tiles.heads)
        return self.users, groups, -(-self.max_length // block)

    def launch(
        self,
        kernel: JITFunction[Any],
        name: str,
        arrays: tuple[Tensor, ...],
        *,
        own_rows: bool = True,
    ) -> None:
        """Run one kernel; blocks vary fastest, so that a user's keys are read while cached."""
        if self.empty:
            return
        q = self.tensors[0]
        _, num_heads, rows, width = q.shape
        users, groups, blocks = self.grid(name)
        tiles = self.tiles(name)
        tf32 = q.dtype == torch.float32 and torch.backends.cuda.matmul.fp32_precision == "tf32"
        fixed = constants(tiles, num_heads, width, self.packed, "tf32" if tf32 else "ieee")
        sizes = (self.max_length, blocks, *([q.shape[0] * rows] if own_rows else []))
        options = {"num_warps": tiles.warps, "num_stages": tiles.stages}
        with torch.cuda.device_of(q):  # type: ignore[no-untyped-call]
            for sums in sums_of_launches(name, width):
                kernel[(users * groups * blocks,)](
                    *arrays, *self.strides, *sizes, **fixed, **sums, **options
                )


FP32 = ("gates", "lse", "delta", "d_product", "d_gate_v")
UNALIGNED = ("num_rows", "num_blocks", "all_rows", "gates_user")


def describe(
    kernel: JITFunction[Any], name: str, dtype: str, width: int, target: str
) -> list[Compilation]:
    """Describe what `launch` compiles for four heads and strides that are multiples of 16."""
    num_heads = 4
    amd = target.startswith("gfx")
    tiles = choose_tiles(name, width, num_heads, half=dtype != "fp32", amd=amd)
    arguments = [a for a in kernel.arg_names if a.islower()]
    pointers = arguments[: arguments.index("q_user")]
    signature = {a: "i32" if a in UNALIGNED else "i32:16" for a in arguments}
    signature |= {a: "*fp32" if a in FP32 else f"*{dtype}" for a in pointers} | {"lengths": "*i64"}
    fixed = constants(tiles, num_heads, width, False, "ieee")
    return [
        Compilation(
            name=kernel.__name__ + "".join(f"_{s.lower()}" for s, kept in sums.items() if kept),
            kernel=kernel,
            signature=signature,
            constexprs=fixed | sums,
            num_warps=tiles.warps,
            num_stages=tiles.stages,
            config={"dtype": dtype, "head_width": width},
            matrix_units=dtype != "fp32",
        )
        for sums in sums_of_launches(name, width)
    ]
