"""Which backends every op has, which of them run here, and the one choice made per engine."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

from mmgrec_engine import _native
from mmgrec_engine.errors import BackendError
from mmgrec_engine.settings import settings

BACKENDS = ("native", "triton", "cuda", "reference")
"""All names, best first; `reference` runs everywhere."""

OPS: dict[str, tuple[str, ...]] = {
    "relation_attention": ("native", "triton", "reference"),
    "rq_assign": ("native", "triton", "reference"),
    "constrained_topk": ("native", "cuda", "reference"),
    "cross_attention_beams": ("triton", "reference"),
    "beam_self_attention": ("triton", "reference"),
    "linear_norm": ("triton", "reference"),
    "feed_forward_norm": ("triton", "reference"),
}
"""The implementations that exist, best first."""

DEVICES = {
    "native": ("cpu",),
    "triton": ("cuda",),
    "cuda": ("cuda",),
    "reference": ("cpu", "cuda"),
}
"""Where each backend's tensors live."""

NOT_FOR_TRAINING = {
    ("relation_attention", "native"),
    ("cross_attention_beams", "triton"),
    ("linear_norm", "triton"),
    ("feed_forward_norm", "triton"),
}
"""Their gradient is the reference's: training gains nothing by them."""


@dataclass(frozen=True)
class Availability:
    """Whether a backend of an op runs here; ``reason`` says why not."""

    op: str
    backend: str
    available: bool
    reason: str


def availability(op: str, device: str | None = None) -> list[Availability]:
    """Say for every backend whether this op has it here, and if not, why.

    Parameters
    ----------
    op : str
        An op of `OPS`.
    device : {"cpu", "cuda"}, optional
        Where the tensors are; by default on any device of this machine.
    """
    return [_check(op, backend, device) for backend in BACKENDS]


def choose(
    op: str, requested: str | None = None, *, device: str = "cpu", training: bool = False
) -> str:
    """Choose the backend of an op; called once, when an engine is built or a training starts.

    ::

        name = requested, else MMGREC_BACKEND, else the best that runs on the device
        where the op lacks what MMGREC_BACKEND forces, or has it for other devices only, its best

    Parameters
    ----------
    op : str
        An op of `OPS`.
    requested : str, optional
        A backend name.
    device : {"cpu", "cuda"}
        Where the tensors are.
    training : bool
        Leave out what is no gain in training, unless it is asked for by name.

    Raises
    ------
    BackendError
        The name is unknown, or the op cannot run on it here.
    """
    forced = settings().backend
    name = requested or forced
    if name is None:
        return _best(op, device, training)
    if name not in BACKENDS:
        raise BackendError("unknown backend", value=name, allowed=", ".join(BACKENDS))
    found = _check(op, name, device)
    if found.available:
        return name
    elsewhere = _check(op, name, None).available
    if requested is None and (elsewhere or name not in OPS[op]):
        return _best(op, device, training)
    usable = ", ".join(a.backend for a in availability(op, device) if a.available)
    raise BackendError(f"{op} cannot run on {name!r}: {found.reason}", allowed=usable)


def _best(op: str, device: str, training: bool) -> str:
    for backend in OPS[op]:
        if training and (op, backend) in NOT_FOR_TRAINING:
            continue
        # The interpreter makes Triton available on the CPU, but nobody's best.
        if device in DEVICES[backend] and _check(op, backend, device).available:
            return backend
    return "reference"


def _check(op: str, backend: str, device: str | None) -> Availability:
    reason = ""
    if backend not in OPS[op]:
        reason = "not written yet"
    elif backend == "triton":
        reason = _triton_problem(device)
    elif backend == "cuda":
        reason = _cuda_problem(device)
    elif device is not None and device not in DEVICES[backend]:
        reason = f"works on {' and '.join(DEVICES[backend])} tensors"
    return Availability(op, backend, not reason, reason)


def _triton_problem(device: str | None) -> str:
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed: pip install 'mmgrec-engine[gpu]'"
    from triton import knobs

    if knobs.runtime.interpret and device != "cuda":
        return ""
    if device == "cpu":
        return "works on cuda tensors (or under TRITON_INTERPRET=1, for tests)"
    return _gpu_problem()


def _cuda_problem(device: str | None) -> str:
    if _native.build_info()["cuda"] is None:
        return "built without CUDA: build with -C cmake.define.MMGREC_CUDA=ON where nvcc is"
    if device == "cpu":
        return "works on cuda tensors"
    return _gpu_problem()


def _gpu_problem() -> str:
    import torch  # deferred: choosing on the CPU needs none

    return "" if torch.cuda.is_available() else "no GPU here"
