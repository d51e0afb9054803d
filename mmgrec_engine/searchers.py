"""Who computes an engine's requests: chosen once, when a model is loaded."""

from __future__ import annotations

from mmgrec_engine.decoding.native_search import NativeSearcher
from mmgrec_engine.decoding.searcher import Searcher
from mmgrec_engine.errors import ArtifactError, BackendError, ConfigError
from mmgrec_engine.model_folder import ModelFolder
from mmgrec_engine.ops.backends import OPS, choose
from mmgrec_engine.settings import num_threads, settings

DEVICES = ("cpu", "cuda")
SEARCH_OPS = ("relation_attention", "constrained_topk")
"""The ops of a request whose backends differ."""


def choose_searcher(
    folder: ModelFolder,
    *,
    device: str = "cpu",
    backend: str | None = None,
    precision: str = "fp32",
    threads: int | None = None,
) -> Searcher:
    """Choose what computes the requests of a model.

    ::

        cpu:  "native" (the default), the whole request in C++: imports no torch
              else the torch model, every op on the backend or, where it lacks that, on its best
        cuda: a graph of kernels per shape; with a backend, the torch model there, op by op

    Parameters
    ----------
    folder : ModelFolder
        The weights.
    device, backend, precision, threads
        As of `Engine.load`.

    Raises
    ------
    BackendError
        The backend or device is unknown, or cannot run here.
    ConfigError
        A precision or number of threads that it cannot have.
    ArtifactError
        The weights do not fit together.
    """
    if device not in DEVICES:
        raise BackendError("unknown device", value=device, allowed=", ".join(DEVICES))
    if threads is not None and threads < 1:
        raise ConfigError("threads is out of range", value=threads, allowed="at least 1")
    if device == "cpu":
        backend = _backend_on_cpu(backend)
        if backend == "native":
            return _native(folder, precision, threads or num_threads())
    elif _by_graphs(backend):
        return _gpu(folder, precision, threads or num_threads())
    if precision != "fp32" or threads is not None:
        raise ConfigError(
            "the torch model has no precision and no threads to set",
            value=f"device {device}, backend {backend}",
            allowed='backend "native" (device "cpu") or "cuda" (device "cuda")',
        )
    return _torch(folder, device, backend)


def _by_graphs(requested: str | None) -> bool:
    forced = settings().backend if requested is None else requested
    return forced == "cuda" or (requested is None and forced in (None, "native"))


def _backend_on_cpu(requested: str | None) -> str:
    name = requested or settings().backend or "native"
    op = next((op for op in SEARCH_OPS if name in OPS[op]), SEARCH_OPS[0])
    return choose(op, requested)


def _native(folder: ModelFolder, precision: str, threads: int) -> NativeSearcher:
    try:
        return NativeSearcher(
            folder.config,
            folder.trie.level_sizes,
            folder.weights,
            precision=precision,
            threads=threads,
        )
    except ConfigError as error:
        if precision != "fp32":
            raise
        # Every processor has it, so it is the weights.
        raise ArtifactError(
            f"this model cannot be loaded: {error.what}", remedy="train again"
        ) from None


def _gpu(folder: ModelFolder, precision: str, threads: int) -> Searcher:
    _need_gpu()
    choose("constrained_topk", "cuda", device="cuda")  # raises where the wheel has no CUDA part
    from mmgrec_engine.decoding.device_search import DeviceSearcher
    from mmgrec_engine.decoding.gpu_search import GpuSearcher

    beams = DeviceSearcher(folder.model(), "cuda", dtype=precision)
    return GpuSearcher(beams, _native(folder, "fp32", threads))


def _torch(folder: ModelFolder, device: str, backend: str | None) -> Searcher:
    from mmgrec_engine.decoding.torch_search import TorchSearcher

    if device == "cuda":
        _need_gpu()
    return TorchSearcher(folder.model(), backend, device)


def _need_gpu() -> None:
    import torch

    if not torch.cuda.is_available():
        raise BackendError(
            "no GPU here that torch can use", value="cuda", allowed="cpu", remedy="mmgrec doctor"
        )
