"""The choice of a backend."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from triton import knobs

from mmgrec_engine import _native
from mmgrec_engine.errors import BackendError
from mmgrec_engine.ops import backends
from mmgrec_engine.ops.backends import BACKENDS, OPS, availability, choose
from mmgrec_engine.settings import settings


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("MMGREC_BACKEND", raising=False)
    settings.cache_clear()
    yield
    settings.cache_clear()


def test_best_is_chosen_and_a_request_is_honoured() -> None:
    assert choose("constrained_topk") == "native"
    assert choose("constrained_topk", "reference") == "reference"
    assert choose("relation_attention") == "native"
    assert choose("cross_attention_beams") == "reference"


def test_training_skips_what_is_no_gain_there_unless_asked() -> None:
    assert choose("relation_attention", training=True) == "reference"
    assert choose("relation_attention", "native", training=True) == "native"
    assert choose("rq_assign", training=True) == "native"


def test_the_device_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose("relation_attention", device="cuda", training=True) == "triton"
    built = _native.build_info()["cuda"] is not None
    assert choose("constrained_topk", device="cuda") == ("cuda" if built else "reference")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(knobs.runtime, "interpret", False)
    with pytest.raises(BackendError, match="no GPU here"):
        choose("rq_assign", "triton", device="cuda")
    with pytest.raises(BackendError, match="TRITON_INTERPRET"):
        choose("rq_assign", "triton")
    monkeypatch.setattr(knobs.runtime, "interpret", True)
    assert choose("rq_assign", "triton") == "triton"
    assert choose("rq_assign") == "native"


def test_cuda_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with monkeypatch.context() as without:
        without.setattr(backends._native, "build_info", lambda: {"cuda": None})
        with pytest.raises(BackendError, match="MMGREC_CUDA=ON"):
            choose("constrained_topk", "cuda", device="cuda")
    monkeypatch.setattr(backends._native, "build_info", lambda: {"cuda": "90"})
    assert choose("constrained_topk", device="cuda") == "reference"
    with pytest.raises(BackendError, match="no GPU here"):
        choose("constrained_topk", "cuda", device="cuda")
    with pytest.raises(BackendError, match="works on cuda tensors"):
        choose("constrained_topk", "cuda", device="cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose("constrained_topk", device="cuda") == "cuda"
    assert choose("constrained_topk") == "native"


def test_triton_missing_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(BackendError, match=r"mmgrec-engine\[gpu\]"):
        choose("rq_assign", "triton")


def test_every_op_runs_somewhere_and_says_why_not_elsewhere() -> None:
    for op in OPS:
        states = availability(op)
        assert [a.backend for a in states] == list(BACKENDS)
        assert any(a.available for a in states)
        assert all(a.reason for a in states if not a.available)


def test_unknown_name_lists_the_valid_ones() -> None:
    with pytest.raises(BackendError, match=", ".join(BACKENDS)):
        choose("constrained_topk", "tpu")
    with pytest.raises(BackendError, match="native, reference"):
        choose("constrained_topk", "cuda")


def test_environment_forces_where_the_op_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMGREC_BACKEND", "reference")
    assert choose("constrained_topk") == "reference"
    settings.cache_clear()
    monkeypatch.setenv("MMGREC_BACKEND", "native")
    assert choose("cross_attention_beams") == "reference"
    assert choose("rq_assign", device="cuda") in ("triton", "reference")
    settings.cache_clear()
    monkeypatch.setenv("MMGREC_BACKEND", "tpu")
    with pytest.raises(BackendError, match="unknown backend"):
        choose("relation_attention")
