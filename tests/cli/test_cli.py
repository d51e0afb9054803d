"""The command line as people use it: a subprocess per command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from mmgrec.data.dataset import Dataset
from tests_shared import make_dataset, small_config

COMMAND = [sys.executable, "-c", "from mmgrec.cli.main import main; main()"]


def mmgrec(*words: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*COMMAND, *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_help_and_version() -> None:
    assert "evaluate" in mmgrec("--help").stdout
    assert mmgrec("--version").stdout.startswith("mmgrec-engine ")


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; import mmgrec.cli.main; "
        "sys.exit(' '.join(m for m in ('torch', 'polars', 'sklearn') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""


def test_import_describe_train_evaluate_recommend(tmp_path: Path) -> None:
    toy = make_dataset(strings=False)
    joined = toy.interactions.select(
        toy.users["user"].gather(toy.interactions["user_row"]).alias("user"),
        toy.items["item"].gather(toy.interactions["item_row"]).alias("item"),
    )
    joined.write_csv(tmp_path / "t.csv")
    toy.items.write_parquet(tmp_path / "items.parquet")
    (tmp_path / "config.json").write_text(small_config().model_dump_json())
    data, run = tmp_path / "data", tmp_path / "run"
    imported = ("--items", tmp_path / "items.parquet", "--text", "title", "--text-method", "tfidf")
    mmgrec("data", "import", tmp_path / "t.csv", *imported, "--out", data)
    figures = json.loads(mmgrec("data", "describe", data, "--json").stdout)
    assert figures["items"] == toy.num_items
    assert "text" in figures["modalities"]

    config = ("--out", run, "--config", tmp_path / "config.json")
    health = json.loads(mmgrec("tokenize", data, *config, "--json").stdout)
    assert health["num_items"] == toy.num_items
    mmgrec("train", data, *config)
    evaluated = json.loads(mmgrec("evaluate", run, "--json").stdout)
    wanted = {"dataset", "split", "users", "recall@10", "recall@20", "ndcg@10", "ndcg@20"}
    others = {"precision@20", "coverage@20", "baselines", "seconds", "with_valid", "refit"}
    assert wanted | others == set(evaluated)
    assert "validation items shown" in mmgrec("evaluate", run, "--with-valid").stdout
    assert "ItemKNN" in mmgrec("evaluate", run, "--split", "valid").stdout
    exact = json.loads(mmgrec("evaluate", run, "--exact", "--json").stdout)
    assert set(exact) == set(evaluated) | {"certified"}
    assert exact["certified"] == 1.0

    user, item = int(toy.users["user"][0]), int(toy.items["item"][4])
    found = json.loads(
        mmgrec("recommend", run, "--user", user, "--history", f"{item}", "-k", 3, "--json").stdout
    )
    assert [len(entry["items"]) for entry in found] == [3, 3]
    assert item not in found[1]["items"]
    assert "Title" in mmgrec("recommend", run, "--user", user).stdout
    (proved,) = json.loads(mmgrec("recommend", run, "--user", user, "--exact", "--json").stdout)
    assert proved["certified"]
    assert proved["expanded"] > 0
    assert not proved["limit_hit"]


def test_refit(dataset: Dataset, run_folder: Path, tmp_path: Path) -> None:
    dataset.save(tmp_path / "data")
    out = tmp_path / "again"
    words = ("train", tmp_path / "data", "--refit", run_folder, "--out", out)
    mmgrec(*words)
    chosen, again = (
        json.loads((folder / "choices.json").read_text()) for folder in (run_folder, out)
    )
    assert chosen == again
    provenance = json.loads((out / "config.json").read_text())["config"]["provenance"]
    assert (out / provenance["refit_of"]).resolve() == run_folder.resolve()
    assert provenance["preset"] == "test"
    assert "validation items trained on" in mmgrec("evaluate", out).stdout
    refused = mmgrec("evaluate", out, "--split", "valid", code=2)
    assert "this is a refit" in refused.stderr
    assert "leave them out" in mmgrec(*words, "--preset", "reference", code=2).stderr


def test_experiment(tmp_path: Path) -> None:
    make_dataset().save(tmp_path / "data")
    (tmp_path / "table.toml").write_text(
        f"data = '{tmp_path / 'data'}'\nbaselines = ['popular', 'itemknn', 'ease']\n"
    )
    out = ("--out", tmp_path / "out")
    done = mmgrec("experiment", tmp_path / "table.toml", *out, "--json")
    results = json.loads(done.stdout)
    assert results["test_openings"] == 0
    assert [row["method"] for row in results["splits"]["valid"]["rows"]] == [
        "popular",
        "itemknn",
        "ease",
    ]
    assert "3/3" in done.stderr
    shown = mmgrec("experiment", tmp_path / "table.toml", *out)
    assert "validation split" in shown.stdout
    assert "1/3" not in shown.stderr
    (tmp_path / "table.toml").write_text("data = 'nowhere'\nbaselines = ['popular']\n")
    assert "not a folder" in mmgrec("experiment", tmp_path / "table.toml", *out, code=2).stderr


def test_doctor(tmp_path: Path) -> None:
    report = json.loads(mmgrec("doctor", "--json").stdout)
    assert set(report["self_test"].values()) == {"ok"}
    assert report["backends"]["constrained_topk"]["native"] == "yes"
    assert report["backends"]["constrained_topk"]["triton"] != "yes"
    shown = mmgrec("doctor").stdout
    assert "self test" in shown
    assert "mmgrec-engine[serve]" in shown or "serve │ installed" in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("data", "get", "netflix", "--out", "x"), "ml-100k"),
        (("data", "describe", "nowhere"), "not a folder"),
        (("data", "import", "none.csv", "--out", "x"), "does not exist"),
        (("train", "nowhere", "--out", "x"), "not a folder"),
        (("evaluate", "nowhere"), "not a folder"),
        (("recommend", "nowhere"), "nobody to recommend to"),
        (("recommend", "nowhere", "--user", "1"), "not a folder"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, tuple) else None,
)
def test_errors_are_messages(tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    done = subprocess.run(
        [*COMMAND, *words], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_errors_about_a_run(run_folder: Path, tmp_path: Path) -> None:
    assert "unknown user id" in mmgrec("recommend", run_folder, "--user", "nobody", code=2).stderr
    assert "unknown item id" in mmgrec("recommend", run_folder, "--history", "z", code=2).stderr
    assert "valid, test" in mmgrec("evaluate", run_folder, "--split", "dev", code=2).stderr
    asked = ("evaluate", run_folder, "--split", "valid", "--with-valid")
    assert "shows what is asked for" in mmgrec(*asked, code=2).stderr
    make_dataset().save(tmp_path / "data")
    assert Dataset.load(tmp_path / "data").num_items == 40
    done = mmgrec("train", tmp_path / "data", "--out", tmp_path / "r", "--preset", "best", code=2)
    assert "default, reference" in done.stderr
    assert not (tmp_path / "r").exists()
    blocked = tmp_path / "file"
    blocked.write_text("")
    (tmp_path / "config.json").write_text(small_config().model_dump_json())
    config = ("--config", tmp_path / "config.json")
    done = mmgrec("train", tmp_path / "data", "--out", blocked / "run", *config, code=2)
    assert "cannot write" in done.stderr


def test_ids_of_parquet_come_back(run_folder: Path) -> None:
    items = pl.read_parquet(run_folder / "items.parquet")["item"].to_list()
    found = json.loads(mmgrec("recommend", run_folder, "--user", "u0", "--json").stdout)
    assert set(found[0]["items"]) <= set(items)
