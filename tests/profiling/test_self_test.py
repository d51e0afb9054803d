"""The doctor's self-test covers every op, and tells a wrong kernel from a right one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mmgrec.profiling import self_test
from mmgrec_engine.ops.backends import OPS

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"  # where Triton's interpreter works


def test_every_op_is_tested_where_it_has_a_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_test, "_backends_of", lambda op: [("reference", "cpu")])
    outcomes = self_test.self_test()
    assert {f"{op} reference = reference" for op in OPS} < outcomes.keys()
    assert set(outcomes.values()) == {"ok"}


@pytest.mark.parametrize("test", ["_prefix_attention", "_linear_norm", "_feed_forward_norm"])
def test_kernels_of_a_gpu_pass(test: str) -> None:
    run: Callable[[str, str], None] = getattr(self_test, test)
    run("triton", DEVICE)


def test_a_wrong_kernel_is_told() -> None:
    def op(x: Tensor, *, backend: str) -> Tensor:
        return x if backend == "reference" else x + 0.01

    with pytest.raises(AssertionError, match=r"differ by up to 1\.0e-02"):
        self_test._agree(op, [torch.ones(3)], "triton", "cpu")
