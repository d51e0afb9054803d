"""Serving on the CPU with torch out of reach: what imports it fails."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# Looking for torch is harmless: polars does. Loading it is what fails.
BLOCK = """
import sys
from importlib.machinery import ModuleSpec

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torch_geometric", "triton"):
            return ModuleSpec(name, self)

    def create_module(self, spec):
        raise ImportError(f"{spec.name} is blocked")

    def exec_module(self, module):
        raise AssertionError(module)

sys.meta_path.insert(0, Blocked())
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment whose Python processes cannot import torch."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(BLOCK)
    return {**os.environ, "PYTHONPATH": str(tmp_path / "site")}


@pytest.fixture
def folder(run_folder: Path, tmp_path: Path) -> Path:
    """A copy of the run, to be edited."""
    copy = tmp_path / "run"
    shutil.copytree(run_folder, copy, ignore=shutil.ignore_patterns("training", "tokenizer"))
    return copy


def python(
    code: str, *words: object, env: dict[str, str], code_expected: int = 0
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == code_expected, done.stderr
    return done


MMGREC = "from mmgrec.cli.main import main; main()"


def test_the_block_blocks(environment: dict[str, str]) -> None:
    done = python("import torch", env=environment, code_expected=1)
    assert "torch is blocked" in done.stderr


def test_the_command_line_recommends_and_evaluates(
    run_folder: Path, environment: dict[str, str]
) -> None:
    words = ("recommend", run_folder, "--user", "u0", "--history", "i01,i03", "-k", 4, "--json")
    beams, exact = (
        json.loads(python(MMGREC, *words, *more, env=environment).stdout)
        for more in ((), ("--exact",))
    )
    assert [len(entry["items"]) for entry in [*beams, *exact]] == [4] * 4
    assert all(entry["certified"] for entry in exact)
    assert "Title" in python(MMGREC, *words[:4], env=environment).stdout
    figures = json.loads(python(MMGREC, "evaluate", run_folder, "--json", env=environment).stdout)
    assert 0 < figures["recall@20"] <= 1


ENGINE = """
import sys
import numpy as np
from mmgrec_engine.engine import Engine

engine = Engine.load(sys.argv[1])
histories = [["i01", "i03", "i05"], ["i00"]]
found = engine.recommend(histories, k=5)
exact = engine.recommend(histories, k=5, exact=True)
assert exact.certified.all()
assert (exact.scores[:, 0] >= found.scores[:, 0] - 1e-4).all()
engine.set_filter("few", ["i07", "i09", "i11"])
found = engine.recommend(histories, k=3, where="few", deny=["i09"])
assert set(found.items[0]) == {"i07", "i11", None}
engine.delete(["i07"])
assert set(engine.recommend(histories, k=2, where="few").items[1]) == {"i09", "i11"}
vectors = np.random.default_rng(0).normal(size=(2, 16)).astype(np.float32)
assert engine.insert(["n0", "n1"], vectors=vectors).shape == (2, 3)
engine.replace(["i09"], vectors=vectors[:1])
assert engine.modalities == {"visual": 6}
assert {"n0", "n1"} <= set(engine.recommend(histories, k=42).items[0])
engine.compact()
assert engine.recommend(histories, k=40).items.shape == (2, 40)
assert engine.insert(["n2"], {"visual": np.ones((1, 6))}).shape == (1, 3)
assert "n2" in engine.recommend(histories, k=42).items[0]
assert engine.items["token_0"].null_count() == 1
engine.close()
again = Engine.load(sys.argv[1])
assert "i07" not in again.recommend(histories, k=40).items
assert "torch" not in sys.modules
"""


def test_an_engine_serves_and_reads_edits(folder: Path, environment: dict[str, str]) -> None:
    python(ENGINE, folder, env=environment)


def test_another_backend_says_what_it_lacks(run_folder: Path, environment: dict[str, str]) -> None:
    code = """
import sys
from mmgrec_engine.engine import Engine
Engine.load(sys.argv[1], backend="reference")
"""
    done = python(code, run_folder, env=environment, code_expected=1)
    assert "torch is blocked" in done.stderr


def test_nothing_imports_torch_where_it_is_there(run_folder: Path) -> None:
    code = """
import sys
from mmgrec_engine.engine import Engine
Engine.load(sys.argv[1]).recommend([["i01"]])
assert "torch" not in sys.modules
"""
    python(code, run_folder, env=dict(os.environ))
