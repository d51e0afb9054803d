"""One kernel at one shape, launched on a GPU: for Nsight Compute, traces and measurements.

::

    python -m mmgrec.profiling.kernel_launch linear_norm_forward dtype=fp32 rows=51200 N=64 E=64
    ncu --set full --kernel-name regex:^linear_norm_forward$ ... the same

Shapes are the examples of `mmgrec profile --kernels`; an op that takes several kernels runs all of
them, and `--kernel-name` picks the one.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mmgrec_engine.errors import BackendError, ConfigError, MMGRecError
from mmgrec_engine.kernels.ranges import op_range, ranges

CALLS = 3
"""The first compiles; the last is the one to look at."""

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}

Shape = Mapping[str, int]
Launch = Callable[[], object]


def function_of(kernel: str) -> str:
    """Name of a report's kernel in its machine code."""
    if kernel in ("rq_assign", "rq_table", "constrained_topk"):
        return f"{kernel}_kernel"
    return kernel.split("_of_")[0]


def launches_of(kernel: str) -> tuple[int, int]:
    """Tell how often a call launches the kernel's function, and which of them is this kernel.

    At width 128 the gradients of k and of v are two launches of one function.
    """
    if kernel.endswith("gradients_of_k"):
        return 2, 0
    return (2, 1) if kernel.endswith("gradients_of_v") else (1, 0)


def ncu_command(kernel: str, config: Mapping[str, Any], shape: Shape) -> str:
    """Return the line that profiles this kernel's last launch with Nsight Compute."""
    each, place = launches_of(kernel)
    words = [kernel, *(f"{k}={v}" for k, v in arguments_of(config, shape).items())]
    return (
        f"ncu --set full --kernel-name regex:^{function_of(kernel)}$ "
        f"--launch-skip {each * (CALLS - 1) + place} --launch-count 1 "
        f"python -m mmgrec.profiling.kernel_launch {' '.join(words)}"
    )


def arguments_of(config: Mapping[str, Any], shape: Shape) -> dict[str, Any]:
    """Everything a launch needs to know: the shape, and of the configuration what is not in it."""
    return {key: config[key] for key in ("dtype", "top2") if key in config} | dict(shape)


def make_launch(kernel: str, arguments: Mapping[str, Any], device: str = "cuda") -> Launch:
    """Draw a kernel's inputs and return the call that launches it.

    Parameters
    ----------
    kernel : str
        A name of the resource report.
    arguments : mapping
        From `arguments_of`.
    device : {"cuda", "cpu"}
        The CPU works under Triton's interpreter, for tests.

    Raises
    ------
    ConfigError
        Unknown kernel, or an argument that it needs is missing.
    """
    maker = next((m for name, m in _MAKERS.items() if kernel.startswith(name)), None)
    if maker is None:
        raise ConfigError("unknown kernel", value=kernel, allowed=", ".join(_MAKERS))
    try:
        return maker(kernel, arguments, device)
    except KeyError as error:
        raise ConfigError(
            f"{kernel}: an argument is missing", value=" ".join(arguments), allowed=error.args[0]
        ) from None


def _draw(at: Mapping[str, Any], device: str, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape, generator=generator).to(device, DTYPES[at["dtype"]])


def _relation_attention(kernel: str, at: Mapping[str, Any], device: str) -> Launch:
    from mmgrec_engine.kernels.relation_attention import attention_op, backward_op

    users, heads, length, width = (at[key] for key in ("B", "H", "L", "d"))
    fused = _draw(at, device, 3, users, length, heads, width).transpose(2, 3)
    relations = _draw(at, device, 3, users, length, width).unbind(0)
    gates = _draw(at, device, users, 3)
    lengths = torch.full((users,), length, device=device)
    inputs = (*fused.unbind(0), *relations, gates, lengths)
    if kernel.endswith("forward"):
        return lambda: attention_op(*inputs, length, False)
    out, lse = attention_op(*inputs, length, False)
    d_out = torch.ones_like(out)
    return lambda: backward_op(d_out, *inputs, out, lse, length, False)


def _rq_assign(_: str, at: Mapping[str, Any], device: str) -> Launch:
    from mmgrec_engine.kernels.rq_assign import rq_assign

    x = _draw(at, device, at["N"], at["D"])
    codebooks = _draw(at, device, at["levels"], at["K"], at["D"])
    return lambda: rq_assign(x, codebooks, top2=bool(at.get("top2", 0)))


def _cross_attention(_: str, at: Mapping[str, Any], device: str) -> Launch:
    from mmgrec_engine.kernels.cross_attention_beams import cross_attention_beams

    users, heads, beams, length, width = (at[key] for key in ("B", "H", "M", "L", "d"))
    q = _draw(at, device, users, beams, heads, width).transpose(1, 2)
    k, v = _draw(at, device, users, length, 2, heads, width).permute(2, 0, 3, 1, 4).unbind(0)
    lengths = torch.full((users,), length, device=device)
    return lambda: cross_attention_beams(q, k, v, lengths)


def _beam_self_attention(_: str, at: Mapping[str, Any], device: str) -> Launch:
    from mmgrec_engine.kernels.beam_self_attention import beam_self_attention

    users, beams, heads, width = (at[key] for key in ("B", "M", "H", "d"))
    position = at["position"]
    numbers = _draw(at, device, position + 1, users, beams, 3, heads, width)
    generator = torch.Generator().manual_seed(0)
    shape = (position + 1, users, beams)
    parents = torch.randint(beams, shape, dtype=torch.int32, generator=generator).to(device)
    cache, qkv = numbers[:, :, :, 1:].contiguous(), numbers[position].contiguous()
    return lambda: beam_self_attention(qkv, cache, parents, position)


def _linear_norm(_: str, at: Mapping[str, Any], device: str) -> Launch:
    from mmgrec_engine.kernels.linear_norm import linear_norm

    rows, inner, width = at["rows"], at["N"], at["E"]
    shapes = ((rows, inner), (rows, width), (width, inner), (width,), (width,))
    inputs = [_draw(at, device, *shape) for shape in shapes]
    return lambda: linear_norm(*inputs)


def _feed_forward_norm(_: str, at: Mapping[str, Any], device: str) -> Launch:
    from mmgrec_engine.kernels.feed_forward_norm import feed_forward_norm

    rows, width, inner = at["rows"], at["E"], at["F"]
    weights = ((inner, width), (inner,), (width, inner), (width,), (width,), (width,))
    inputs = [_draw(at, device, *shape) for shape in ((rows, width), *weights)]
    return lambda: feed_forward_norm(*inputs)


def _constrained_topk(_: str, at: Mapping[str, Any], device: str) -> Launch:
    from mmgrec.profiling.device_cases import DeviceStep
    from mmgrec.profiling.trie_catalogues import random_catalogue
    from mmgrec_engine.ops.constrained_topk import Beams, constrained_topk

    users, beams, keep = at["B"], at["M"], at["W"]
    if at["level"] > 0:
        return DeviceStep("uniform", users, beams, device).ours
    trie = random_catalogue("uniform", at["N"]).trie
    root = Beams.whole(trie, users, device)
    logits = torch.randn(users, beams, trie.level_sizes[0], device=device)
    backend = "cuda" if device == "cuda" else "native"
    return lambda: constrained_topk(trie, 0, root, logits, keep, backend=backend)


_MAKERS: dict[str, Callable[[str, Mapping[str, Any], str], Launch]] = {
    "relation_attention": _relation_attention,
    "rq_": _rq_assign,
    "cross_attention_beams": _cross_attention,
    "beam_self_attention": _beam_self_attention,
    "linear_norm": _linear_norm,
    "feed_forward_norm": _feed_forward_norm,
    "constrained_topk": _constrained_topk,
}


def run(words: Sequence[str] | None = None) -> None:
    """Launch a kernel a few times inside an NVTX range of its name."""
    parser = argparse.ArgumentParser(
        prog="kernel_launch", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("kernel")
    parser.add_argument("arguments", nargs="*", metavar="NAME=VALUE")
    options = parser.parse_args(words)
    if not torch.cuda.is_available():
        raise BackendError("kernel_launch needs a GPU", allowed="a machine where torch finds one")
    launch = make_launch(options.kernel, _parse(options.arguments))
    with ranges(), op_range(options.kernel):
        for _ in range(CALLS):
            launch()
        torch.cuda.synchronize()


def _parse(words: Sequence[str]) -> dict[str, Any]:
    """Read NAME=VALUE; the dtype is a name, everything else a number."""
    found: dict[str, Any] = {}
    for word in words:
        name, _, value = word.partition("=")
        if name == "dtype" and value in DTYPES:
            found[name] = value
        elif name != "dtype" and value.isdecimal():
            found[name] = int(value)
        else:
            raise ConfigError(
                "an argument cannot be read",
                value=word,
                allowed=f"NAME=NUMBER, or dtype= one of {', '.join(DTYPES)}",
            )
    return found


def main() -> int:
    """Turn errors of this package into a message and exit code 2."""
    try:
        run()
    except MMGRecError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
