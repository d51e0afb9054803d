"""A few seconds of self-test: the folder format, the trie, and every op that has a kernel here."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mmgrec_engine.artifact import open_folder, write_folder
from mmgrec_engine.catalog.trie import Trie
from mmgrec_engine.ops.backends import choose
from mmgrec_engine.ops.beam_self_attention import beam_self_attention
from mmgrec_engine.ops.constrained_topk import Beams, BeamStep, constrained_topk
from mmgrec_engine.ops.cross_attention_beams import cross_attention_beams
from mmgrec_engine.ops.feed_forward_norm import feed_forward_norm
from mmgrec_engine.ops.linear_norm import linear_norm
from mmgrec_engine.ops.relation_attention import relation_attention
from mmgrec_engine.ops.rq_assign import rq_assign
from mmgrec_engine.writers import read_arrays, write_arrays

TOLERANCE = 1e-4


def self_test() -> dict[str, str]:
    """Return "ok" or what failed, per test."""
    tests: dict[str, Callable[[], None]] = {
        "folder round trip": _folder,
        "trie lookup": _trie,
        **{
            f"{op} {backend} = reference": partial(test, backend, device)
            for op, test in (
                ("constrained_topk", _step),
                ("relation_attention", _attention),
                ("cross_attention_beams", _beams_attention),
                ("beam_self_attention", _prefix_attention),
                ("linear_norm", _linear_norm),
                ("feed_forward_norm", _feed_forward_norm),
                ("rq_assign", _assign),
            )
            for backend, device in _backends_of(op)
        },
    }
    return {name: _outcome(test) for name, test in tests.items()}


def _backends_of(op: str) -> list[tuple[str, str]]:
    """Return what is to be held against the reference, and where: the GPU's only with a GPU."""
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    best = [(choose(op, device=device), device) for device in devices]
    return [(backend, device) for backend, device in best if backend != "reference"]


def _outcome(test: Callable[[], None]) -> str:
    try:
        test()
    except Exception as error:  # a doctor reports every ailment
        return f"failed: {type(error).__name__}: {error}"
    return "ok"


def _folder() -> None:
    values = np.arange(6, dtype=np.float32)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "test"
        write_folder(path, "test", {}, {"a.safetensors": write_arrays({"a": values})})
        read = read_arrays(open_folder(path, "test").file("a.safetensors"))["a"]
    if not np.array_equal(read, values):
        raise AssertionError("what was read differs from what was written")


def _small_trie() -> tuple[Trie, np.ndarray]:
    rng = np.random.default_rng(0)
    codes = np.unique(rng.integers(0, 16, (500, 3), dtype=np.int32), axis=0)
    return Trie.build(codes, [16, 16, 16])[0], codes


def _trie() -> None:
    trie, codes = _small_trie()
    if not np.array_equal(trie.lookup(codes), np.arange(len(codes))):
        raise AssertionError("a Rec-ID is not found at its rank")


def _step(backend: str, device: str) -> None:
    trie, _ = _small_trie()
    torch.manual_seed(0)
    root = torch.zeros(4, 1, dtype=torch.int64)
    inputs = [root, root + trie.num_items, torch.zeros(4, 1), torch.randn(4, 1, 16)]

    def step(backend: str, device: str) -> BeamStep:
        lo, hi, scores, logits = (x.to(device) for x in inputs)
        return constrained_topk(trie, 0, Beams(lo, hi, scores), logits, 5, backend=backend)

    found, expected = step(backend, device), step("reference", "cpu")
    if not torch.equal(found.lo.cpu(), expected.lo):
        raise AssertionError(f"{backend} and reference keep different beams")
    if not torch.allclose(found.scores.cpu(), expected.scores, atol=TOLERANCE):
        raise AssertionError(f"{backend} and reference scores differ")


def _agree(op: Callable[..., Tensor], inputs: Sequence[Tensor], backend: str, device: str) -> None:
    """Raise where an op on the device is not the reference on the processor."""
    found = op(*(x.to(device) for x in inputs), backend=backend).cpu()
    expected = op(*inputs, backend="reference")
    if not torch.allclose(found, expected, atol=TOLERANCE):
        raise AssertionError(f"they differ by up to {float((found - expected).abs().max()):.1e}")


def _attention(backend: str, device: str) -> None:
    torch.manual_seed(0)
    heads = [torch.randn(4, 3, 33, 16) for _ in range(3)]
    shared = [torch.randn(4, 33, 16) for _ in range(3)]
    inputs = [*heads, *shared, torch.randn(4, 3), torch.tensor([0, 1, 20, 33])]
    _agree(relation_attention, inputs, backend, device)


def _beams_attention(backend: str, device: str) -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(4, 3, 50, 16), torch.randn(4, 3, 33, 16), torch.randn(4, 3, 33, 16)
    _agree(cross_attention_beams, [q, k, v, torch.tensor([0, 1, 20, 33])], backend, device)


def _prefix_attention(backend: str, device: str) -> None:
    torch.manual_seed(0)
    positions, users, beams = 4, 2, 5
    numbers = torch.randn(positions, users, beams, 3, 3, 16)
    parents = torch.randint(beams, (positions, users, beams), dtype=torch.int32)
    inputs = [numbers[-1].contiguous(), numbers[:, :, :, 1:].contiguous(), parents]
    _agree(partial(beam_self_attention, position=positions - 1), inputs, backend, device)


def _linear_norm(backend: str, device: str) -> None:
    torch.manual_seed(0)
    shapes = ((50, 32), (50, 64), (64, 32), (64,), (64,))
    _agree(linear_norm, [torch.randn(shape) for shape in shapes], backend, device)


def _feed_forward_norm(backend: str, device: str) -> None:
    def op(x: Tensor, *rest: Tensor, backend: str) -> Tensor:
        w_1, b_1, w_2, b_2, gain, shift = rest
        return feed_forward_norm(x, (w_1, b_1), (w_2, b_2), gain, shift, backend=backend)

    torch.manual_seed(0)
    shapes = ((50, 64), (128, 64), (128,), (64, 128), (64,), (64,), (64,))
    _agree(op, [torch.randn(shape) for shape in shapes], backend, device)


def _assign(backend: str, device: str) -> None:
    torch.manual_seed(0)
    x, codebooks = torch.randn(500, 40), torch.randn(3, 50, 40)
    found = rq_assign(x.to(device), codebooks.to(device), backend=backend)
    if not torch.equal(found.codes.cpu(), rq_assign(x, codebooks).codes):
        raise AssertionError(f"{backend} and reference codes differ")
