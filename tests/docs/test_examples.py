"""The examples in README and docs run, in the order of the page, on a small run.

Blocks marked ``python`` and ``bash`` are executed; a block that cannot be says why in a comment
above it: ``<!--- skip: next "reason" -->``. Port 8000 is replaced by a free one.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import SkipTest

import numpy as np
import polars as pl
import pytest
from sybil import Example, Sybil
from sybil.parsers.markdown import CodeBlockParser, SkipParser

from mmgrec.data.dataset import Dataset, Modality
from mmgrec.training.pipeline import Run, train_run
from tests_shared import make_dataset, quiet_reporter, small_config

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    if re.search(r"^```(python|bash)$", path.read_text(encoding="utf-8"), re.MULTILINE)
)
ITEMS = [*range(1, 104), *range(105, 200)]
"""Ids as the pages use them; README inserts 104."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``data/ml-100k``, with the ids that the pages name, and ``runs/ml-100k``."""
    folder = tmp_path_factory.mktemp("trained")
    toy = make_dataset(80, len(ITEMS), strings=False)
    items = toy.items.with_columns(item=pl.Series(ITEMS))
    users = pl.DataFrame({"user": range(1, 81)})
    rng = np.random.default_rng(0)
    audio = Modality(rng.normal(size=(len(ITEMS), 4)).astype(np.float32), np.ones(len(ITEMS), bool))
    modalities = toy.modalities | {"audio": audio}
    dataset = Dataset("films", users, items, toy.interactions, modalities)
    data = folder / "data/ml-100k"
    dataset.save(data, {})
    run = Run(folder / "runs/ml-100k", dataset, small_config(), "test", 0, source=data)
    train_run(run, quiet_reporter(run.work / "logs"))
    return folder


@pytest.fixture
def place(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a page's examples run: the data set and the run under the names of the pages."""
    for name in ("ml-100k", "mine"):
        shutil.copytree(trained / "data/ml-100k", tmp_path / "data" / name)
        shutil.copytree(trained / "runs/ml-100k", tmp_path / "runs" / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("MMGREC_THREADS", "1")
    return tmp_path


class Runner:
    """Executes the blocks of one page; what they leave running ends with it."""

    def __init__(self, place: Path, values: dict[str, Any]) -> None:
        self.place, self.values = place, values
        self.shells: list[int] = []
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = str(listener.getsockname()[1])

    def source(self, example: Example) -> str:
        """Return a block's text, with the free port."""
        return re.sub(r"\b8000\b", self.port, str(example.parsed))

    def python(self, example: Example) -> None:
        """Run a block in the page's namespace; a traceback shows the page's own line."""
        lines = "\n" * (example.line + example.parsed.line_offset)
        code = compile(lines + self.source(example), example.path, "exec", dont_inherit=True)
        exec(code, self.values)

    def bash(self, example: Example) -> None:
        """Run a block in a shell of its own, which must succeed."""
        # Into a file: a server that a block starts keeps its output open.
        log = self.place / "shell.log"
        with log.open("wb") as output:
            shell = subprocess.Popen(
                ["bash", "-euo", "pipefail", "-c", self.source(example)],
                cwd=self.place,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self.shells.append(shell.pid)
            code = shell.wait()
        assert code == 0, f"{example.path}:{example.line}\n{log.read_text(errors='replace')}"

    def end(self) -> None:
        """Stop what still runs."""
        for group in self.shells:
            try:
                os.killpg(group, signal.SIGTERM)
            except ProcessLookupError:
                continue


@pytest.fixture
def runner(place: Path) -> Iterator[Runner]:
    """A runner with what the pages take for granted."""
    rng = np.random.default_rng(1)
    codes = np.unique(rng.integers(0, 16, (500, 3), dtype=np.int32), axis=0)
    pl.DataFrame(codes, schema=["c0", "c1", "c2"]).write_parquet("codes.parquet")
    features = {
        "visual": rng.normal(size=(1, 6)).astype(np.float32),
        "audio": rng.normal(size=(1, 4)).astype(np.float32),
    }
    found = Runner(place, {"codes": codes, **features})
    yield found
    found.end()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_examples_of_a_page_run(page: Path, runner: Runner) -> None:
    parsers = [
        CodeBlockParser("python", runner.python),
        CodeBlockParser("bash", runner.bash),
        SkipParser(),
    ]
    for example in Sybil(parsers).parse(page).examples():
        with contextlib.suppress(SkipTest):
            example.evaluate()


def test_most_blocks_run_and_the_others_say_why() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    skipped = re.findall(r"^<!---? skip: .*$", text, re.MULTILINE)
    assert all(re.fullmatch(r'<!--- skip: next "[^"]+" -->', line) for line in skipped), skipped
    blocks = re.findall(r"^```(?:python|bash)$", text, re.MULTILINE)
    assert len(blocks) > 40
    assert len(skipped) < len(blocks) / 3
