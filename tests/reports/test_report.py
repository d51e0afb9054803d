"""Whole reports of the toy run: figures, page, command line."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmgrec.data.dataset import Dataset, Modality, Split
from mmgrec.evaluation.engine_rank import EngineRank
from mmgrec.evaluation.protocol import evaluate
from mmgrec.reports.figures import Wish, report_figures
from mmgrec.reports.findings import findings
from mmgrec.reports.modalities import find_encoder
from mmgrec.reports.page import report_page, save_page
from mmgrec.training.pipeline import Run, train_run
from mmgrec_engine.engine import Engine
from mmgrec_engine.errors import DataError, RequestError
from mmgrec_engine.model_folder import load_model_folder
from tests_shared import quiet_reporter, small_config

COMMAND = [sys.executable, "-c", "from mmgrec.cli.main import main; main()"]


@pytest.fixture(scope="module")
def data(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "toy"
    dataset.save(folder)
    return folder


@pytest.fixture(scope="module")
def figures(run_folder: Path, data: Path) -> dict[str, Any]:
    lines: list[str] = []
    found = report_figures(Wish(run_folder, data=data), lines.append)
    assert any("exact" in line for line in lines)
    return found


def test_headline_figures_are_those_of_evaluate(
    figures: dict[str, Any], run_folder: Path, dataset: Dataset
) -> None:
    scorer = EngineRank(Engine.load(run_folder), dataset, 50)
    evaluated = evaluate(dataset, Split.VALID, scorer)
    for name, found in (("mmgrec", evaluated), *evaluated["baselines"].items()):
        for metric in ("recall@10", "ndcg@20", "precision@20"):
            assert figures["metrics"][name][metric]["mean"] == pytest.approx(found[metric])
        assert figures["metrics"][name]["coverage@20"] == found["coverage@20"]
    assert figures["recall_curve"]["mmgrec"][19] == pytest.approx(evaluated["recall@20"])


def test_figures_are_json_and_complete(figures: dict[str, Any]) -> None:
    assert json.loads(json.dumps(figures)) == figures
    assert figures["split"] == "valid"
    assert set(figures["recall_curve"]) == {"mmgrec", "exact", "itemknn", "popular"}
    assert all(len(curve) == 50 for curve in figures["recall_curve"].values())
    assert figures["certified"]["exact"] == 1
    assert figures["run"]["preset"] == "test"
    assert sum(figures["popularity"]["share"]["mmgrec"]) == pytest.approx(1)


def test_hiding_nothing_changes_nothing_and_hiding_features_something(
    figures: dict[str, Any],
) -> None:
    whole, hidden = figures["modalities"]
    assert (whole["case"], hidden["case"]) == ("all modalities", "without visual")
    assert whole["recall@20"]["mmgrec"] == pytest.approx(figures["recall_curve"]["mmgrec"][19])
    assert whole["recall@20"] != hidden["recall@20"]


def test_other_features_are_not_taken_for_the_runs(
    run_folder: Path, dataset: Dataset, tmp_path: Path
) -> None:
    folder = load_model_folder(run_folder)
    other = np.random.default_rng(0).normal(size=dataset.modalities["visual"].values.shape)
    changed = {"visual": Modality(other.astype(np.float32), dataset.modalities["visual"].present)}
    for wrong in (replace(dataset, modalities=changed), dataset.without_features()):
        wrong.save(tmp_path / "data")
        with pytest.raises(DataError, match="not the data set"):
            find_encoder(folder, tmp_path / "data")
    encoder, reason = find_encoder(folder, None)
    assert encoder is None
    assert "--data" in reason


def test_encoders_are_found_where_runs_share_them(
    run_folder: Path, dataset: Dataset, data: Path, tmp_path: Path
) -> None:
    folder, shared = tmp_path / "runs" / "one", tmp_path / "encoders"
    run = Run(folder, dataset, small_config(), "test", 0, shared=shared)
    shutil.copytree(run_folder / "training", run.encoders)  # trained already
    train_run(run, quiet_reporter(run.work / "logs"))
    assert not (folder / "training" / "graph").exists()
    encoder, reason = find_encoder(load_model_folder(folder), data)
    assert encoder is not None, reason


def test_findings_name_trouble_first(figures: dict[str, Any]) -> None:
    worse = json.loads(json.dumps(figures))
    worse["metrics"]["itemknn"]["ours_minus_this"]["ndcg@20"] = {
        "mean": -0.1,
        "low": -0.2,
        "high": -0.05,
        "p": 0.001,
    }
    worse["recall_curve"]["mmgrec"][19] = 0.5 * worse["recall_curve"]["exact"][19]
    worse["codes"][0]["dead_codes"] = 5
    found = findings(worse)
    trouble = [finding["text"] for finding in found if finding["kind"] == "trouble"]
    assert any(text.startswith("Worse than ItemKNN") for text in trouble)
    assert any("beams lose" in text for text in trouble)
    assert any("5 of 6 codes" in text for text in trouble)
    kinds = [finding["kind"] for finding in found]
    assert kinds == sorted(kinds, key=("trouble", "look", "good").index)


class Outline(HTMLParser):
    """Headings, plots and what the page would load from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.headings, self.plots, self.loaded = 0, 0, []  # type: ignore[var-annotated]
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.headings += tag == "h2"
        self.plots += tag == "svg"
        self.loaded += [
            value
            for name, value in attrs
            if name in ("src", "href", "xlink:href") and not str(value).startswith("#")
        ]
        if tag not in ("meta", "path", "use", "rect", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.open and self.open[-1] == tag:
            self.open.pop()


def test_the_page_needs_nothing_else(figures: dict[str, Any]) -> None:
    page = report_page(figures)
    outline = Outline()
    outline.feed(page)
    assert outline.headings == 8
    assert outline.plots == 10  # three stages, six of the lists and codes, one of modalities
    assert outline.loaded == []
    assert "url(http" not in page
    assert "@import" not in page
    assert not re.search(r"#0001\d\d", page)  # all colours are the page's
    assert f"{figures['metrics']['mmgrec']['ndcg@20']['mean']:.4f}" in page


def test_names_are_text_whatever_they_hold(figures: dict[str, Any]) -> None:
    nasty = json.loads(json.dumps(figures))
    nasty["run"]["dataset"] = "<script>alert(1)</script>"
    nasty["example"]["title"] = "<img src=x>"
    nasty["modalities"][1]["case"] = "without <b> $x^$"
    page = report_page(nasty)
    assert "<script>" not in page
    assert "<img" not in page
    assert "<b> $x" not in page
    assert "&lt;script&gt;" in page


def test_a_run_without_logs_and_features_has_a_page(figures: dict[str, Any]) -> None:
    bare = json.loads(json.dumps(figures)) | {"training": [], "modalities": None}
    bare |= {"no_modalities": "the features are gone", "findings": findings(figures)}
    page = report_page(bare)
    assert "no training logs" in page
    assert "the features are gone" in page


def test_a_page_is_replaced_as_a_whole(tmp_path: Path) -> None:
    save_page(tmp_path / "new" / "page.html", "one")
    save_page(tmp_path / "new" / "page.html", "two")
    assert [path.read_text() for path in (tmp_path / "new").iterdir()] == ["two"]


def test_an_unknown_item_is_refused_before_anything_is_measured(run_folder: Path) -> None:
    lines: list[str] = []
    with pytest.raises(RequestError, match="unknown item"):
        report_figures(Wish(run_folder, item="nothing"), lines.append)
    assert lines == []


def test_command_line(run_folder: Path, data: Path, tmp_path: Path) -> None:
    def mmgrec(*words: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *map(str, words)], capture_output=True, text=True, check=False
        )

    done = mmgrec("report", run_folder, "--data", data, "--split", "test", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["split"] == "test"
    page = tmp_path / "page.html"
    done = mmgrec("report", run_folder, "--out", page, "--item", "i07")
    assert done.returncode == 0, done.stderr
    assert str(page) in done.stderr.replace("\n", "")
    text = page.read_text()
    assert "validation" in text
    assert "Title 7" in text
    assert "Not measured" in text
    refused = mmgrec("report", run_folder, "--split", "dev")
    assert refused.returncode == 2
    assert "valid, test" in refused.stderr
