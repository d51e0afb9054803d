"""What validation chose in a run: all that another run needs in order to choose nothing."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class TokenizerChoices(BaseModel):
    """Of the item vectors and their codes.

    ``encoders``: epochs of every graph encoder; ``quantizer``: of the RQ-VAE, None with RQ-KMeans.
    ``width``: of the joint vectors. ``ridge_strength``, ``ridge_share``: of the item-item ridge
    regression, 0 where the vectors are those of the encoders.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    encoders: tuple[int, ...]
    quantizer: int | None
    width: int
    ridge_strength: float
    ridge_share: float


class RecommenderChoices(BaseModel):
    """Of the recommender.

    ``history_decay``: 1 where all items of a history weigh the same. ``softness``: share of the
    encoders' inverse temperature at the start. ``epochs``: 0 where the start was best.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    history_decay: float
    softness: float
    epochs: int


class Choices(BaseModel):
    """Of a run; ``recommender``: None where it was not trained (yet)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tokenizer: TokenizerChoices
    recommender: RecommenderChoices | None = None
