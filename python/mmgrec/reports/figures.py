"""All figures of a report: what `mmgrec report --json` prints and the page shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mmgrec.data.dataset import Dataset, Split
from mmgrec.evaluation.baselines import KnnSettings, Rows
from mmgrec.evaluation.bootstrap import paired_bootstrap
from mmgrec.evaluation.engine_rank import EngineRank
from mmgrec.evaluation.metrics import coverage, per_user_metrics
from mmgrec.reports.codes import code_usage, collision_groups
from mmgrec.reports.curves import training_curves
from mmgrec.reports.example import example_tree
from mmgrec.reports.findings import findings
from mmgrec.reports.lists import AT, Audience, coverage_curve
from mmgrec.reports.modalities import MaskedEncoder, find_encoder, modality_figures
from mmgrec.reports.popularity import popularity_bias, recall_by_training_count
from mmgrec.reports.run_facts import run_facts
from mmgrec_engine.engine import Engine
from mmgrec_engine.model_folder import ModelFolder, load_model_folder

METRICS = ("recall@10", "recall@20", "ndcg@10", "ndcg@20", "precision@20")
RESAMPLES = 10_000
Say = Callable[[str], object]


@dataclass(frozen=True)
class Wish:
    """What to report on; ``data``: the run's data set, if it is not where it was."""

    run: Path
    split: Split = Split.VALID
    data: Path | None = None
    beam_width: int = 50
    item: str | None = None


def report_figures(wish: Wish, say: Say) -> dict[str, Any]:
    """Measure a run.

    ::

        lists = everybody's 50 best by beam search, exact search, ItemKNN and most popular
        figures = metrics with intervals, recall and coverage per K, recall by training count,
                  popularity bias: all of the lists;
                  training curves and Rec-IDs: of the run's files
                  modalities: the same lists once more without each of them

    Parameters
    ----------
    wish : Wish
        What to report on.
    say : callable
        Takes a line on what is being done.

    Returns
    -------
    dict
        JSON-serialisable; docs/reports.md names the fields.

    Raises
    ------
    ArtifactError
        The run is missing or damaged.
    DataError
        The split is empty, or the features are not the run's.
    RequestError
        The example item is unknown.
    """
    folder, dataset = load_model_folder(wish.run), Dataset.load(wish.run / "dataset")
    # First what may refuse the wish.
    tree = example_tree(folder, wish.item)
    encoder, reason = find_encoder(folder, wish.data)
    audience = Audience.of_split(dataset, wish.split)
    lists = _Lists.of(folder, dataset, audience, wish.beam_width, say)
    rec_ids = folder.trie.codes()
    figures: dict[str, Any] = {
        "run": run_facts(folder, dataset, wish.run),
        "split": wish.split.name.lower(),
        "users": {"reported": len(audience.rows), "of": audience.of},
        "beam_width": wish.beam_width,
        "metrics": lists.metrics(),
        "itemknn": lists.knn.model_dump(),
        "training": training_curves(wish.run / "training" / "logs"),
        "codes": code_usage(rec_ids, folder.trie.level_sizes),
        "collisions": collision_groups(rec_ids),
        "recall_curve": {name: audience.recall_curve(top) for name, top in lists.tops.items()},
        "certified": lists.certified,
        "by_training_count": recall_by_training_count(audience, lists.without_exact()),
        "popularity": popularity_bias(audience, lists.without_exact()),
        "coverage_curve": {
            name: coverage_curve(top, audience.num_items)
            for name, top in lists.without_exact().items()
        },
        "modalities": None,
        "no_modalities": reason,
        "example": tree,
    }
    if encoder is not None:
        say("Hiding modalities, one by one")
        figures["modalities"] = _modalities(folder, encoder, wish.beam_width, lists)
    return figures | {"findings": findings(figures)}


@dataclass(frozen=True)
class _Lists:
    """``tops``: method to lists ``[n, K]``; ``certified``: share of proven beam and exact lists."""

    audience: Audience
    tops: dict[str, Rows]
    knn: KnnSettings
    certified: dict[str, float]

    @classmethod
    def of(
        cls, folder: ModelFolder, dataset: Dataset, audience: Audience, width: int, say: Say
    ) -> _Lists:
        say("Tuning ItemKNN on validation")
        popular = audience.popular()
        neighbours, settings = audience.neighbours(dataset)
        engine = _engine(folder)
        tops, certified = {}, {}
        for name, exact in (("mmgrec", False), ("exact", True)):
            say(f"Recommending to {len(audience.rows):,} users by {_how(exact, width)}")
            scorer = EngineRank(engine, dataset, width, exact=exact)
            tops[name] = audience.rank(scorer, popular)
            certified[name] = scorer.certified_share
        tops |= {"itemknn": neighbours, "popular": popular}
        return cls(audience, tops, settings, certified)

    def without_exact(self) -> dict[str, Rows]:
        return {name: top for name, top in self.tops.items() if name != "exact"}

    def metrics(self) -> dict[str, Any]:
        """Means over users with the half width of their 95 % interval; ours beside the others."""
        audience = self.audience
        tables = {
            name: per_user_metrics(top[:, :AT], audience.relevant, audience.rows)
            .select(METRICS)
            .to_numpy()
            for name, top in self.without_exact().items()
        }
        found: dict[str, Any] = {}
        for name, table in tables.items():
            half = 1.96 * table.std(0, ddof=1) / np.sqrt(len(table)) if len(table) > 1 else None
            found[name] = {
                metric: {"mean": float(table[:, i].mean())}
                | ({} if half is None else {"half_width": float(half[i])})
                for i, metric in enumerate(METRICS)
            }
            found[name]["coverage@20"] = coverage(self.tops[name][:, :AT], audience.num_items)
            if name != "mmgrec":
                pair = paired_bootstrap(tables["mmgrec"], table, resamples=RESAMPLES)
                found[name]["ours_minus_this"] = {
                    metric: vars(difference)
                    for metric, difference in zip(METRICS, pair, strict=True)
                }
        return found


def _engine(folder: ModelFolder) -> Engine:
    """Make an engine of the run as it was trained: later edits of its items are left out."""
    return Engine(replace(folder, source=None))


def _how(exact: bool, width: int) -> str:
    return "exact search" if exact else f"beam search, {width} beams"


def _modalities(
    folder: ModelFolder, encoder: MaskedEncoder, width: int, lists: _Lists
) -> list[dict[str, Any]]:
    def generative(masked: ModelFolder) -> EngineRank:
        return EngineRank(_engine(masked), encoder.dataset, width)

    return modality_figures(folder, encoder, lists.audience, lists.tops["popular"], generative)
