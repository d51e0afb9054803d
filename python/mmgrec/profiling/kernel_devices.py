"""What the makers' datasheets promise of a GPU: the roofs of a prediction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

UNITS = ("fp32", "tf32", "bf16")
"""Arithmetic that has a roof of its own: multiply-adds of float32, and matrix units with inputs of
TF32 and of 16 bits (fp16 and bf16 alike); sums are float32."""


@dataclass(frozen=True)
class Device:
    """One GPU: operations per second of each unit (dense, no sparsity) and bytes per second.

    ``cuda_names``: how its driver names it; other models of the family have other roofs.
    """

    target: str
    flops_per_s: Mapping[str, float]
    bytes_per_s: float
    cuda_names: tuple[str, ...]
    source: str


def _device(
    target: str, tflops: tuple[float, float, float], gbs: float, names: tuple[str, ...], source: str
) -> Device:
    flops = {unit: rate * 1e12 for unit, rate in zip(UNITS, tflops, strict=True)}
    return Device(target, flops, gbs * 1e9, names, source)


DEVICES = {
    "A100": _device(
        "sm_80",
        (19.5, 156, 312),
        2039,
        ("NVIDIA A100-SXM4-80GB",),
        "NVIDIA A100 Tensor Core GPU datasheet (SXM, 80 GB)",
    ),
    # The datasheets of H100 and H200 give matrix rates with sparsity, twice the dense ones, and
    # round: 989 and 1,979. The white paper of the architecture has 494.7 and 989.4 dense.
    "H100": _device(
        "sm_90",
        (66.9, 494.7, 989.4),
        3350,
        ("NVIDIA H100 80GB HBM3",),
        "NVIDIA H100 Tensor Core GPU datasheet (SXM5) and architecture white paper",
    ),
    "H200": _device(
        "sm_90",
        (66.9, 494.7, 989.4),
        4800,
        ("NVIDIA H200",),
        "NVIDIA H200 Tensor Core GPU datasheet (SXM)",
    ),
    # Of the HGX board at 1,000 W; a GB200 has a tenth more. Halves of the sparse rates.
    "B200": _device(
        "sm_100",
        (80, 1100, 2250),
        8000,
        ("NVIDIA B200",),
        "NVIDIA Blackwell architecture technical brief (HGX B200)",
    ),
}
"""The roofs by name. None of it was measured by us."""


def known_device(cuda_name: str) -> str | None:
    """Name in `DEVICES` of a GPU that the driver names so; None where its roofs are not known."""
    return next((name for name, d in DEVICES.items() if cuda_name in d.cuda_names), None)


def predict(
    flops: float, moved: float, unit: str, products: int, device: Device
) -> dict[str, float | str]:
    """Predict the least time of a kernel on a device.

    ::

        seconds = max(flops x products / rate of the unit, bytes / bandwidth)

    Parameters
    ----------
    flops, moved : float
        Operations, and bytes that must move.
    unit : str
        Of `UNITS`.
    products : int
        Matrix products that the units do for one that is counted: three parts of a float32.
    device : Device
        Of `DEVICES`.

    Returns
    -------
    dict
        ``seconds`` and ``bound``: "memory" or the unit.
    """
    arithmetic = flops * products / device.flops_per_s[unit]
    memory = moved / device.bytes_per_s
    return {"seconds": max(arithmetic, memory), "bound": unit if arithmetic > memory else "memory"}
