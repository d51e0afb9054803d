"""The layout: one op, one name everywhere; small files and functions; nothing is unpickled."""

from __future__ import annotations

import ast
import statistics
from pathlib import Path

import pytest

from mmgrec_engine.ops.backends import OPS

ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    path for room in ("mmgrec_engine", "kernels", "python") for path in (ROOT / room).rglob("*.py")
)
EVERYTHING = [*SOURCES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "benches").rglob("*.py")]


KERNEL_LINES = 120
"""A kernel's body cannot be cut as freely: what is in registers does not pass through calls."""


def is_kernel(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any("triton.jit" in ast.unparse(decorator) for decorator in node.decorator_list)


def functions(path: Path, *, kernels: bool = False) -> list[tuple[str, int]]:
    """Name and length of every function (or of every kernel), docstring not counted."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if is_kernel(node) != kernels:
                continue
            body = node.body
            if ast.get_docstring(node) and len(body) > 1:
                body = body[1:]
            found.append((f"{path.name}:{node.name}", body[-1].end_lineno - body[0].lineno + 1))  # type: ignore[operator]
    return found


@pytest.mark.parametrize("op", OPS)
def test_an_op_has_its_files(op: str) -> None:
    expected = [f"mmgrec_engine/ops/{op}.py", f"tests/ops/test_{op}.py", f"benches/bench_{op}.py"]
    if "native" in OPS[op]:
        expected += [f"csrc/ops/{op}.h", f"csrc/ops/{op}.cpp", f"tests/cpp/test_{op}.cpp"]
    if "triton" in OPS[op]:
        expected.append(f"kernels/{op}.py")
    if "cuda" in OPS[op]:
        expected.append(f"csrc/ops/{op}.cu")
    assert [path for path in expected if not (ROOT / path).is_file()] == []
    assert f"def {op}_reference(" in (ROOT / expected[0]).read_text()


def test_files_and_functions_are_small() -> None:
    lengths = [len(path.read_text().splitlines()) for path in SOURCES]
    assert statistics.median(lengths) <= 120
    assert max(lengths) <= 400
    sizes = [entry for path in SOURCES for entry in functions(path)]
    assert sorted(size for _, size in sizes)[int(0.9 * len(sizes))] <= 30
    assert [entry for entry in sizes if entry[1] > 60] == []
    bodies = [entry for path in SOURCES for entry in functions(path, kernels=True)]
    assert len(bodies) > 5
    assert [entry for entry in bodies if entry[1] > KERNEL_LINES] == []
    native = [p for p in (ROOT / "csrc").rglob("*") if p.suffix in (".cpp", ".cu", ".h")]
    assert all(len(path.read_text().splitlines()) <= 400 for path in native)


def test_bindings_are_the_only_place_that_knows_python() -> None:
    for path in (ROOT / "csrc").rglob("*"):
        if path.is_file() and "bindings" not in path.parts:
            text = path.read_text()
            assert "Python.h" not in text
            assert "nanobind" not in text


def test_nothing_is_unpickled() -> None:
    for path in EVERYTHING:
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert not {"pickle", "dill", "joblib", "shelve"} & set(names), path
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                assert any(k.arg == "weights_only" for k in node.keywords), path


def test_the_tree_does_not_shadow_the_installed_package() -> None:
    assert not (ROOT / "conftest.py").exists()
    import mmgrec_engine

    assert hasattr(mmgrec_engine, "__version__")


def test_environment_is_read_in_one_place() -> None:
    readers = [p for p in SOURCES if "os.environ" in p.read_text() or "getenv" in p.read_text()]
    assert readers == []
