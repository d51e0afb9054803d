"""Our models as rows of a table, trained by the pipeline that `mmgrec train` runs."""

from __future__ import annotations

from mmgrec.data.dataset import Split
from mmgrec.evaluation.baselines import Scorer
from mmgrec.evaluation.engine_rank import EngineRank
from mmgrec.experiments.factors import vector_scorer
from mmgrec.experiments.reranked import Reranked
from mmgrec.training.pipeline import Run, tokenize_run, train_run
from mmgrec.training.reporter import Reporter
from mmgrec_engine.engine import Engine


def generative(run: Run, report: Reporter, beam_width: int) -> Scorer:
    """Train what is missing of a run and rank by what its engine recommends."""
    train_run(run, report)
    return EngineRank(Engine.load(run.folder), run.dataset, beam_width)


def dense(run: Run, report: Reporter) -> Scorer:
    """Train what is missing of a run's graph encoder and rank by its dot products."""
    tokens = tokenize_run(run, report)
    history = run.dataset.histories(Split.TRAIN)
    return vector_scorer(history, tokens.user_vectors, tokens.item_vectors)


def reranked(run: Run, report: Reporter, beam_width: int) -> Reranked:
    """Train what is missing of a run; rank by its engine's lists and its graph encoder together."""
    train_run(run, report)
    tokens = tokenize_run(run, report)
    return Reranked(
        EngineRank(Engine.load(run.folder), run.dataset, beam_width),
        tokens.user_vectors.numpy(),
        tokens.item_vectors.numpy(),
        run.config.graph_training.score_scale,
    ).tuned(run.dataset)
