"""What a call costs before it does anything: nanobind beside pybind11, NumPy beside torch.

The call is that of a constrained step, seven arrays, five that are None and three numbers, with
the work left out; beside it a call with one array. pybind11 knows no DLPack and refuses tensors,
so they become NumPy arrays first, as they would have to in front of it.

Both modules are built here, into build/binding, with what the `bench` extra installs. Reasons for
the binding that we use, and figures: docs/decisions.md.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

SOURCES = Path(__file__).parent / "binding"
BUILD = SOURCES.parents[1] / "build" / "binding"
USERS, BEAMS, TOKENS, KEEP = 1, 10, 256, 10
NONE = (None,) * 5

METHODS = ["nanobind numpy", "pybind11 numpy", "nanobind torch"]
METHODS += ["nanobind torch.numpy()", "pybind11 torch.numpy()"]


@pytest.fixture(scope="session")
def modules() -> dict[str, ModuleType]:
    """Both bindings, built if they are not."""
    for package in ("nanobind", "pybind11"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: pip install 'mmgrec-engine[bench]'")
    if shutil.which("cmake") is None:
        pytest.skip("cmake is not on the path: pip install 'mmgrec-engine[bench]'")
    import nanobind
    import pybind11

    configure = ["cmake", "-S", str(SOURCES), "-B", str(BUILD)]
    configure += [f"-DPython_EXECUTABLE={sys.executable}"]
    configure += [f"-Dnanobind_DIR={nanobind.cmake_dir()}"]
    configure += [f"-Dpybind11_DIR={pybind11.get_cmake_dir()}"]
    for command in (configure, ["cmake", "--build", str(BUILD)]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return {name: _load(f"step_{name}") for name in ("nanobind", "pybind11")}


def _load(name: str) -> ModuleType:
    (path,) = BUILD.glob(f"{name}.*so")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _arrays() -> list[np.ndarray[Any, Any]]:
    """Ranges, scores, logits; scores, origin, ranges and best pruned to write."""
    shapes: list[tuple[tuple[int, ...], type]] = [((USERS, BEAMS, 4), np.int64)]
    shapes += [((USERS, BEAMS), np.float32), ((USERS, BEAMS, TOKENS), np.float32)]
    shapes += [((USERS, KEEP), np.float32), ((USERS, KEEP, 2), np.int32)]
    shapes += [((USERS, KEEP, 4), np.int64), ((USERS,), np.float32)]
    return [np.ones(shape, dtype) for shape, dtype in shapes]


@pytest.mark.parametrize("method", METHODS)
def test_step(benchmark: BenchmarkFixture, modules: dict[str, ModuleType], method: str) -> None:
    binding, _, kind = method.partition(" ")
    step, arrays = modules[binding].step, _arrays()
    inputs: list[Any] = arrays if kind == "numpy" else [torch.from_numpy(x) for x in arrays]
    call: Callable[[], object]
    if kind == "torch.numpy()":

        def call() -> object:
            a, b, c, d, e, f, g = (x.numpy() for x in inputs)
            return step(2, a, b, c, False, *NONE, d, e, f, g, 1)

    else:
        a, b, c, d, e, f, g = inputs

        def call() -> object:
            return step(2, a, b, c, False, *NONE, d, e, f, g, 1)

    arrays[3][:] = 0
    call()
    assert arrays[3][0, 0] == 2  # it wrote where our array is, not into a copy
    benchmark.group = "a step: seven arrays"
    benchmark(call)


@pytest.mark.parametrize("method", METHODS)
def test_one_array(
    benchmark: BenchmarkFixture, modules: dict[str, ModuleType], method: str
) -> None:
    binding, _, kind = method.partition(" ")
    one, x = modules[binding].one, np.ones((10, 64), np.float32)
    tensor = torch.from_numpy(x)
    calls: dict[str, Callable[[], object]] = {
        "numpy": lambda: one(x),
        "torch": lambda: one(tensor),
        "torch.numpy()": lambda: one(tensor.numpy()),
    }
    assert calls[kind]() == 1
    benchmark.group = "one array"
    benchmark(calls[kind])


def test_both_refuse_what_they_would_have_to_convert(modules: dict[str, ModuleType]) -> None:
    for module in modules.values():
        with pytest.raises(TypeError):
            module.one(np.ones((2, 2)))
    with pytest.raises(TypeError):
        modules["pybind11"].one(torch.ones(2, 2))
