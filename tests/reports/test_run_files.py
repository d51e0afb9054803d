"""What is read of a run's files: curves, codes, the example item."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from torch.utils.tensorboard import SummaryWriter

from mmgrec.reports.codes import code_usage, collision_groups
from mmgrec.reports.curves import training_curves
from mmgrec.reports.example import example_tree
from mmgrec_engine.errors import RequestError
from mmgrec_engine.model_folder import load_model_folder


def test_curves_have_every_epoch_of_every_stage(run_folder: Path) -> None:
    stages = training_curves(run_folder / "training" / "logs")
    assert [stage["stage"] for stage in stages] == ["graph", "graph-2", "recommender"]
    graph, _, recommender = stages
    assert [epoch for epoch, _ in graph["loss"]] == list(range(1, 16))
    assert [epoch for epoch, _ in graph["validation"]] == list(range(1, 16))
    assert len(recommender["loss"]) == 4
    assert graph["loss"][-1][1] < graph["loss"][0][1]


def test_an_epoch_that_a_killed_run_did_twice_counts_once(tmp_path: Path) -> None:
    for values in ((3.0, 2.0), (1.5, 1.0)):
        writer = SummaryWriter(str(tmp_path / "graph"))
        for epoch, value in enumerate(values, 1):
            writer.add_scalar("graph/loss", value, epoch)
        writer.close()
    (stage,) = training_curves(tmp_path)
    assert [epoch for epoch, _ in stage["loss"]] == [1, 2]


def test_a_run_without_logs_has_no_curves(tmp_path: Path) -> None:
    assert training_curves(tmp_path / "none") == []


def test_code_usage_counts_items() -> None:
    rec_ids = np.array([[0, 1, 0], [0, 1, 1], [0, 2, 0], [3, 2, 0]], np.int32)
    first, second = code_usage(rec_ids, [4, 3, 2])
    assert first["items_per_code"] == [3, 1, 0, 0]
    assert first["dead_codes"] == 2
    assert first["perplexity"] == pytest.approx(
        np.exp(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25)))
    )
    assert second["items_per_code"] == [2, 2, 0]
    assert second["perplexity"] == pytest.approx(2)
    groups = collision_groups(rec_ids)
    assert groups == {"groups_by_size": {"1": 2, "2": 1}, "alone_share": 0.5, "largest": 2}


def test_the_tree_holds_the_path_of_the_item(run_folder: Path) -> None:
    folder = load_model_folder(run_folder)
    tree = example_tree(folder, "i07")
    assert (tree["item"], tree["title"]) == ("i07", "Title 7")
    path = tree["rec_id"]
    codes = folder.trie.codes()
    for level in tree["levels"]:
        below = (codes[:, : level["level"]] == path[: level["level"]]).all(1)
        here = below & (codes[:, level["level"]] == path[level["level"]])
        assert level["token"] == path[level["level"]]
        assert level["items"] == here.sum()
        beside = sum(sibling["items"] for sibling in level["siblings"])
        if not level["more_siblings"]:
            assert beside + level["items"] == below.sum()
    assert "i07" in [leaf["item"] for leaf in tree["leaves"]]
    for other in tree["leaves"] + tree["neighbours"]:
        same = [a == b for a, b in zip(other["rec_id"], path, strict=True)]
        assert other["shared"] == int(np.cumprod(same).sum())
    cosines = [other["cosine"] for other in tree["neighbours"]]
    assert cosines == sorted(cosines, reverse=True)
    assert "i07" not in [other["item"] for other in tree["neighbours"]]


def test_by_default_the_example_shares_its_codes(run_folder: Path) -> None:
    tree = example_tree(load_model_folder(run_folder), None)
    assert any(leaf["rec_id"][:-1] == tree["rec_id"][:-1] for leaf in tree["leaves"][1:])
    with pytest.raises(RequestError, match="unknown item"):
        example_tree(load_model_folder(run_folder), "nothing")
