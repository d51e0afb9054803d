"""What `bench trie` reports, at tiny sizes; how long things take decides nothing here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from mmgrec.cli.main import app
from mmgrec.profiling import (
    trie_build_cases,
    trie_cases,
    trie_edit_cases,
    trie_report,
    trie_search_cases,
)
from mmgrec.profiling.cases import run_case
from mmgrec.profiling.roof import Roof
from mmgrec.profiling.timing import measure
from mmgrec.profiling.trie_csr import CsrTrie, csr_bytes
from mmgrec.profiling.trie_keys import codes_of, distinct_keys, nodes_per_level
from mmgrec.profiling.trie_tables import trie_tables
from mmgrec_engine import _native
from mmgrec_engine.catalog import live_folder
from mmgrec_engine.catalog.prefixes import PrefixTable
from mmgrec_engine.catalog.trie import Trie
from mmgrec_engine.errors import MMGRecError

ITEMS, DENIED = 100_000, 30_000
"""Enough for prefixes of two tokens to have several children: with one, any logits score alike."""

EDITED = 3000
ROOF = Roof({1: 1e9, 2: 1e9}, {1: 1e10, 2: 1e10})


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmgrec.profiling.timing.SECONDS_PER_METHOD", 0.0)
    monkeypatch.setattr("mmgrec.profiling.timing.SETTLE", 0.0)
    monkeypatch.setattr(trie_build_cases, "ITEMS_PER_CASE", 1)
    monkeypatch.setattr("mmgrec.profiling.timing.LEAST_ROUNDS", 2)
    for module in (trie_cases, trie_search_cases):
        monkeypatch.setattr(module, "ITEMS", ITEMS)
        monkeypatch.setattr(module, "DENIED", DENIED)
        monkeypatch.setattr(module, "USERS", (1, 3))
    monkeypatch.setattr(trie_cases, "WIDTHS", (4, 7))
    monkeypatch.setattr(trie_cases, "STEADY", 0.001)
    monkeypatch.setattr(trie_edit_cases, "ITEMS", EDITED)
    monkeypatch.setattr(trie_edit_cases, "PENDING", (0, 40))
    monkeypatch.setattr("mmgrec.profiling.roof.measure_roof", lambda counts: ROOF)


def report(*words: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["bench", "trie", "--largest", "20000", "--json", *words])
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_report(run_folder: Path) -> None:
    found = report("--run", str(run_folder))
    assert set(found) >= {"machine", "roof", "rows"}
    benches: dict[str, list[dict[str, Any]]] = {}
    for row in found["rows"]:
        benches.setdefault(row["bench"], []).append(row)
    assert {row["case"]["N"] for row in benches["trie_build"]} == {10_000, 20_000}
    for row in benches["trie_build"]:
        assert row["median_s"] >= row["finish_s"]
        assert row["peak_rss_bytes"] >= row["idle_rss_bytes"] > 2**20
    for row in benches["trie_memory"]:
        assert row["bytes_per_item"] == pytest.approx(row["bytes"] / row["case"]["N"])
        assert row["ratio"] == pytest.approx(row["baseline_bytes"] / row["bytes"])
        if row["backend"] == "native":
            assert row["file_bytes"] == row["bytes"]
    for name in ("constrained_topk", "constrained_search", "filter_prepare"):
        assert {row["baseline"] for row in benches[name]} == {"torch_csr"}
        assert {row["backend"] for row in benches[name]} >= {"native", "torch_csr"}
        for row in benches[name]:
            assert row["ratio"] == pytest.approx(row["baseline_median_s"] / row["median_s"])
            assert ("roof_share" in row) == (name == "constrained_topk")
    assert {row["case"]["pending"] for row in benches["trie_compaction"]} == {0, 40}
    assert {(row["backend"], row["case"]["batch"]) for row in benches["trie_edits"]} == {
        (mode, batch) for mode in ("durable", "in_memory") for batch in (1, 100)
    }
    assert all("certified_share" in row for row in benches["certificates"])
    titles = [table.title for table in trie_tables(found)]
    # The steps have a second table, of ratios; searches and preparations one each per case.
    assert {str(title).split(" ")[0].strip(",") for title in titles} >= set(benches) - {
        "certificates"
    }


def test_the_command_prints_tables_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trie_report, "step_cases", list)
    monkeypatch.setattr(trie_report, "search_cases", list)
    done = CliRunner().invoke(app, ["bench", "trie", "--largest", "500"])
    assert done.exit_code == 0, done.output
    assert "trie_build" in done.stdout
    assert "trie_compaction" in done.stdout


@pytest.mark.parametrize("method", ["native", "op", "torch_csr"])
@pytest.mark.parametrize("denied", [0, DENIED])
def test_a_wrong_method_is_not_timed(
    monkeypatch: pytest.MonkeyPatch, method: str, denied: int
) -> None:
    case = trie_cases.step_case("skewed", 3, 7, denied, "catalogue")
    case.check()

    def wrong(step: trie_cases.Step) -> Any:  # noqa: ANN401 - beams or scores
        found = getattr(trie_cases.Step, f"right_{method}")(step)
        if method != "native":
            return found + 0.01
        # As if it had read other logits.
        other = step._begin.copy()
        other.step(step._array * 1.1, False)
        return other

    monkeypatch.setattr(
        trie_cases.Step, f"right_{method}", getattr(trie_cases.Step, method), raising=False
    )
    monkeypatch.setattr(trie_cases.Step, method, wrong)
    with pytest.raises(AssertionError, match="differ by up to"):
        list(run_case(case, (1,), ROOF))


def test_popular_prefixes_have_more_children() -> None:
    children = {
        kind: trie_cases.step_case(kind, 1, 7, 0, "catalogue").shape["children"]
        for kind in ("skewed", trie_cases.POPULAR)
    }
    assert children["popular"] > 2 * children["skewed"]


def test_a_forgotten_filter_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    case = trie_search_cases.search_case(DENIED)
    case.check()
    monkeypatch.setattr(trie_search_cases.Search, "_rank_filter", lambda search: None)
    with pytest.raises(AssertionError, match="torch_csr and native differ"):
        case.check()


def test_a_copy_of_beams_goes_its_own_way() -> None:
    trie, _ = Trie.build(codes_of(next(distinct_keys(500))), [256] * 4)
    beams = _native.Beams(trie.native, 1, 5)
    beams.step(np.zeros((1, 1, 256), np.float32), False)
    before, copy = beams.scores(), beams.copy()
    copy.step(np.zeros((1, 5, 256), np.float32), False)
    assert copy.prefixes().shape == (1, 5, 2)
    assert beams.prefixes().shape == (1, 5, 1)
    np.testing.assert_array_equal(beams.scores(), before)


def test_methods_are_prepared_once_per_turn() -> None:
    log: list[str] = []
    measure({"a": lambda: log.append("a")}, prepare={"a": lambda: log.append("prepared")}, calls=3)
    assert log == ["prepared", "a", "a", "a"] * (len(log) // 4)


def test_keys_are_distinct_and_counted() -> None:
    keys = np.concatenate(list(distinct_keys(2**20 + 5000)))
    assert len(np.unique(keys)) == 2**20 + 5000
    codes = codes_of(np.sort(next(distinct_keys(5000))))
    levels = PrefixTable.of(codes).levels
    assert nodes_per_level(5000) == [len(level) for level in levels]


def test_the_baseline_is_what_is_counted() -> None:
    csr = CsrTrie(codes_of(np.sort(next(distinct_keys(5000)))))
    held = sum(4 * len(x) for x in csr.tokens) + sum(4 * len(x) for x in csr.first)
    assert csr_bytes([len(x) for x in csr.tokens], 4) == held


def test_allowed_nodes_have_an_item_left() -> None:
    codes = codes_of(np.sort(next(distinct_keys(3000))))
    deny = np.random.default_rng(0).choice(3000, 2500, replace=False)
    left = np.delete(codes, deny, axis=0)
    for level, allowed in enumerate(CsrTrie(codes).allowed_nodes([torch.from_numpy(deny)])):
        expected = len(np.unique(left[:, : level + 1], axis=0))
        assert int(allowed.sum()) == expected


def test_a_build_that_fails_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MMGRecError, match="could not build a trie of 100 items"):
        trie_build_cases.build_once(100, 1, tmp_path / "missing" / "trie.bin")


def test_edits_are_timed_while_a_long_journal_starts_compactions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trie_edit_cases, "ITEMS", 3_000)
    monkeypatch.setattr(trie_edit_cases, "PENDING", (40,))
    monkeypatch.setattr(live_folder, "JOURNAL_BYTES", 1)
    monkeypatch.setattr("mmgrec.profiling.timing.LEAST_ROUNDS", 200)
    rows = list(trie_edit_cases.edit_rows(lambda _: None))
    assert [row["backend"] for row in rows] == ["durable"] * 2 + ["in_memory"] * 2 + ["native"]
    assert all(row["items_per_s"] > 0 for row in rows)
