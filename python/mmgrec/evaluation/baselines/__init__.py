"""Baselines without gradients (most popular, item neighbours, EASE) and what all have in common.

The trained ones are in `mmgrec.experiments`, above the training loop that they share with us.
"""

from mmgrec.evaluation.baselines.base import (
    Baseline,
    MatrixScorer,
    Rows,
    Scorer,
    Scores,
    Settings,
    grid_of,
    interaction_matrix,
    top_items,
)
from mmgrec.evaluation.baselines.content_knn import ContentKnn, ContentKnnSettings
from mmgrec.evaluation.baselines.ease import Ease
from mmgrec.evaluation.baselines.item_knn import (
    KNN_GRID,
    CoOccurrence,
    ItemKnn,
    KnnSettings,
    best_knn,
    item_knn,
    item_similarity,
    tuned_knn,
)
from mmgrec.evaluation.baselines.popular import Popular, most_popular
from mmgrec.evaluation.baselines.tuning import tune, validation_score

__all__ = [
    "KNN_GRID",
    "Baseline",
    "CoOccurrence",
    "ContentKnn",
    "ContentKnnSettings",
    "Ease",
    "ItemKnn",
    "KnnSettings",
    "MatrixScorer",
    "Popular",
    "Rows",
    "Scorer",
    "Scores",
    "Settings",
    "best_knn",
    "grid_of",
    "interaction_matrix",
    "item_knn",
    "item_similarity",
    "most_popular",
    "top_items",
    "tune",
    "tuned_knn",
    "validation_score",
]
