"""An example shape for every compiled kernel, and the work in it.

Shapes are those of `mmgrec bench device`, so that predictions can be laid beside measurements:
64 users, 50 beams, four heads, 10^5 rows to quantise, 10^6 items.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from mmgrec.profiling.trie_cases import BEAM_BYTES
from mmgrec_engine.ops.beam_self_attention import beam_self_attention_work
from mmgrec_engine.ops.cross_attention_beams import cross_attention_beams_work
from mmgrec_engine.ops.feed_forward_norm import feed_forward_norm_work
from mmgrec_engine.ops.linear_norm import linear_norm_work
from mmgrec_engine.ops.relation_attention import relation_attention_work
from mmgrec_engine.ops.rq_assign import rq_assign_work
from mmgrec_engine.ops.work import Work

USERS, HEADS, BEAMS, FEW_BEAMS = 64, 4, 50, 10
HISTORY, MEMORY = 128, 32
"""Items of a history in the encoder's attention, and rows of a memory in the decoder's."""

FEW_ROWS, MANY_ROWS = USERS * BEAMS, 1024 * BEAMS
ASSIGNED, LEVELS, CODES = 100_000, 3, 256
POSITION = 3
ITEMS, TOKENS = 1_000_000, 256

Config = dict[str, Any]


@dataclass(frozen=True)
class Example:
    """A shape by the names that benches use, and its work."""

    shape: dict[str, int]
    work: Work


def itemsize_of(config: Config) -> int:
    """Bytes of a number of a kernel's dtype."""
    return 4 if config["dtype"] == "fp32" else 2


def example_of(kernel: str, config: Config) -> Example:
    """Return the example for a row of the resource report.

    Parameters
    ----------
    kernel, config : str, dict
        As `mmgrec_engine.kernels.aot` names them.
    """
    return _EXAMPLES[kernel](config)


def unit_of(row: dict[str, Any]) -> str:
    """Tell which arithmetic bounds a compiled kernel, of `kernel_devices.UNITS`.

    Without matrix instructions it is the float32 units, whatever the dtype: sums are float32. With
    them it is TF32 for float32 numbers and for those that are split into parts.
    """
    if not row["mma"]:
        return "fp32"
    return "tf32" if row["config"]["dtype"] == "fp32" or row["products"] > 1 else "bf16"


def _relation_shape(config: Config) -> dict[str, int]:
    return {"B": USERS, "H": HEADS, "L": HISTORY, "d": config["head_width"]}


def _relation_forward(config: Config) -> Example:
    lengths, size = torch.full((USERS,), HISTORY), itemsize_of(config)
    work = relation_attention_work(lengths, HEADS, config["head_width"], itemsize=size)
    return Example(_relation_shape(config), work)


def _relation_gradients(
    per_head: int, shared: int, heads: int, relations: int, logs: int
) -> Callable[[Config], Example]:
    """Count a backward kernel; like the forward pass, without the softmax.

    ``per_head``: products of 2 L^2 d operations per head; ``shared``: those for all heads at once.
    ``heads``, ``relations``, ``logs``: arrays ``[B, L, H, d]``, ``[B, L, d]`` and fp32
    ``[B, L, H]`` read or written.
    """

    def example(config: Config) -> Example:
        width, rows = config["head_width"], USERS * HISTORY
        flops = 2 * rows * HISTORY * width * (per_head * HEADS + shared)
        numbers = rows * width * (heads * HEADS + relations) + 3 * USERS
        moved = itemsize_of(config) * numbers + 4 * rows * HEADS * logs
        return Example(_relation_shape(config), Work(flops, moved))

    return example


def _rq_assign(config: Config) -> Example:
    shape = {"N": ASSIGNED, "D": config["width"], "K": CODES, "levels": LEVELS}
    size = itemsize_of(config)
    work = rq_assign_work(ASSIGNED, config["width"], LEVELS, CODES, itemsize=size)
    if config["top2"]:
        work = Work(work.flops, work.bytes + 8 * ASSIGNED * LEVELS)
    return Example(shape, work)


def _rq_table(config: Config) -> Example:
    """Codewords in, their parts (two of fp32) and half squared norms out."""
    width, codewords = config["width"], LEVELS * CODES
    parts = 2 if config["dtype"] == "fp32" else 1
    moved = codewords * (width * (itemsize_of(config) + 4 * parts) + 4)
    return Example(
        {"N": ASSIGNED, "D": width, "K": CODES, "levels": LEVELS},
        Work(2 * codewords * width, moved),
    )


def _cross_attention(config: Config) -> Example:
    beams = FEW_BEAMS if config["queries"] <= 16 else BEAMS
    width, size = config["head_width"], itemsize_of(config)
    lengths = torch.full((USERS,), MEMORY)
    work = cross_attention_beams_work(lengths, HEADS, beams, width, itemsize=size)
    return Example({"B": USERS, "H": HEADS, "M": beams, "L": MEMORY, "d": width}, work)


def _beam_self_attention(config: Config) -> Example:
    width, size = config["head_width"], itemsize_of(config)
    shape = {"B": USERS, "M": BEAMS, "H": HEADS, "d": width, "position": POSITION}
    work = beam_self_attention_work(USERS, BEAMS, POSITION, HEADS, width, itemsize=size)
    return Example(shape, work)


def _linear_norm(config: Config) -> Example:
    rows, width = _rows_of(config), config["width"]
    work = linear_norm_work(rows, width, width, itemsize=itemsize_of(config))
    return Example({"rows": rows, "N": width, "E": width}, work)


def _feed_forward_norm(config: Config) -> Example:
    rows, width = _rows_of(config), config["width"]
    work = feed_forward_norm_work(rows, width, 4 * width, itemsize=itemsize_of(config))
    return Example({"rows": rows, "E": width, "F": 4 * width}, work)


def _rows_of(config: Config) -> int:
    """Tiles of 16 rows are for few rows."""
    return FEW_ROWS if config["rows"] <= 16 else MANY_ROWS


def _constrained_topk(config: Config) -> Example:
    """Count the first step (one beam) or the third, on evenly spread Rec-IDs.

    ::

        leaves of a beam = items / 256^level;  children = the distinct tokens expected among them
        per child 3 operations and a logit; per leaf a token (on the first level per child an
        offset); beams in and out
    """
    beams, keep = config["beams"], config["keep"]
    level = 0 if beams == 1 else 2
    leaves = ITEMS / TOKENS**level
    children = TOKENS * (1 - (1 - 1 / TOKENS) ** leaves)
    listed = 4 * children if level == 0 else leaves
    total = round(USERS * beams * children)
    moved = round(USERS * (beams * (4 * children + listed) + BEAM_BYTES * (beams + keep)))
    shape = {"N": ITEMS, "level": level, "B": USERS, "M": beams, "W": keep}
    return Example(shape, Work(3 * total, moved))


_EXAMPLES: dict[str, Callable[[Config], Example]] = {
    "relation_attention_forward": _relation_forward,
    # Bias and its gradient for all heads; Q K^T, dO V^T, dS K per head. q, k, v, out, d_out in.
    "relation_attention_query_gradients": _relation_gradients(3, 2, 6, 4, 2),
    "relation_attention_key_gradients_of_k": _relation_gradients(3, 2, 5, 4, 2),
    "relation_attention_key_gradients_of_v": _relation_gradients(2, 1, 4, 4, 1),
    "relation_attention_key_gradients_of_k_of_v": _relation_gradients(4, 2, 6, 5, 2),
    "rq_assign": _rq_assign,
    "rq_table": _rq_table,
    "cross_attention_beams_forward": _cross_attention,
    "beam_self_attention_forward": _beam_self_attention,
    "linear_norm_forward": _linear_norm,
    "feed_forward_norm_forward": _feed_forward_norm,
    "constrained_topk": _constrained_topk,
}
