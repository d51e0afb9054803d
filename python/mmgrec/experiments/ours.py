"""Our models as rows of a table, trained by the pipeline that `mmgrec train` runs."""

from __future__ import annotations

from pathlib import Path

from mmgrec.data.dataset import Split
from mmgrec.evaluation.baselines import Scorer
from mmgrec.evaluation.engine_rank import EngineRank
from mmgrec.experiments.factors import vector_scorer
from mmgrec.experiments.reranked import Reranked
from mmgrec.training.choices import Choices
from mmgrec.training.pipeline import Run, tokenize_run, train_run
from mmgrec.training.refit import read_choices
from mmgrec.training.reporter import Reporter
from mmgrec_engine.artifact import MODEL, open_folder
from mmgrec_engine.engine import Engine


def generative(run: Run, report: Reporter, beam_width: int) -> EngineRank:
    """Train what is missing of a run and rank by what its engine recommends."""
    train_run(run, report)
    return EngineRank(Engine.load(run.folder), run.dataset, beam_width)


def dense(run: Run, report: Reporter) -> Scorer:
    """Train what is missing of a run's graph encoder and rank by its dot products."""
    tokens = tokenize_run(run, report)
    history = run.dataset.histories(Split.TRAIN)
    return vector_scorer(history, tokens.user_vectors, tokens.item_vectors)


def reranked(run: Run, report: Reporter, beam_width: int, share: float | None = None) -> Reranked:
    """Train what is missing of a run; rank by its engine's lists and its graph encoder together.

    ``share``: of the dense score, where it was chosen before.
    """
    engine, tokens = generative(run, report, beam_width), tokenize_run(run, report)
    vectors = tokens.user_vectors.numpy(), tokens.item_vectors.numpy()
    scale = run.config.graph_training.score_scale
    if share is not None:
        return Reranked(engine, *vectors, scale, share)
    return Reranked(engine, *vectors, scale).tuned(run.dataset)


def refitted(run: Run, report: Reporter, folder: Path, *, whole: bool) -> Run:
    """Return the refit of a run that is trained, its recommender too if ``whole``."""
    if whole:
        return run.refitted(folder, read_choices(open_folder(run.folder, MODEL)))
    return run.refitted(folder, Choices(tokenizer=tokenize_run(run, report).choices))
