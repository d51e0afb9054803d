"""Shapes of the models; what reads them needs no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class RecommenderConfig(BaseModel):
    """Shape and options of the encoder-decoder Transformer.

    ``normalise``: a token's probability is a softmax over its whole level ("full", the paper's) or
    over the tokens that lead to an item ("catalogue"; the scores of all items then sum to one).
    ``user_vector``: h_u is the graph encoder's vector of a known user ("graph", the paper's; a user
    without one gets the learned map of the history) or always that map ("history").
    ``node_vectors``: a child's logit gains q . mean item vector below the child + log of the number
    of items there. ``history_order``: histories are in order of time, and newer items may count
    more in the map of the history; how much more, training chooses on validation.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    width: int = Field(default=64, ge=1)
    heads: int = Field(default=4, ge=1)
    head_width: int = Field(default=16, ge=1)
    feed_forward: int = Field(default=128, ge=1)
    encoder_layers: int = Field(default=2, ge=1)
    decoder_layers: int = Field(default=2, ge=1)
    dropout: float = Field(default=0.2, ge=0.0, lt=1.0)
    max_history: int = Field(default=256, ge=1)
    node_vectors: bool = True
    normalise: Literal["catalogue", "full"] = "catalogue"
    user_vector: Literal["history", "graph"] = "history"
    history_order: bool = False


class GraphEncoderConfig(BaseModel):
    """Shape of the graph encoder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    width: int = Field(default=64, ge=2)
    layers: int = Field(default=2, ge=0, le=8)
    propagation: Literal["graphsage", "lightgcn"] = "lightgcn"
    free_share: float = Field(default=0.5, ge=0.0, le=1.0)
    """Share of an item's width that is a free CF embedding; 0 is the features-only variant."""
    neighbours: int = Field(default=0, ge=0)
    """Items with the most similar features whose vectors are added to an item's own, by half."""
    members: int = Field(default=1, ge=1, le=16)
    """Encoders, alike but for their seeds, whose averaged scores the vectors reproduce."""
    widest: int = Field(default=0, ge=0)
    """Joint vectors of several members may be twice as wide, and so on up to this width, where
    validation ranks clearly better with them; 0: ``width``."""
    item_ridge: bool = False
    """Blend in an item-item ridge regression at a share that validation chooses."""


class RQVAEConfig(BaseModel):
    """Shape and loss of the quantiser.

    ``method="rqkmeans"`` has no autoencoder: residual k-means on the item vectors themselves.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Literal["rqvae", "rqkmeans"] = "rqvae"
    codebook_size: int = Field(default=256, ge=2, le=65536)
    semantic_levels: int = Field(default=2, ge=1, le=7)
    latent: int = Field(default=32, ge=1)
    hidden: int = Field(default=128, ge=1)
    codebook_update: Literal["ema", "loss"] = "ema"
    commitment: float = Field(default=0.25, ge=0.0)
    ema_decay: float = Field(default=0.95, gt=0.0, lt=1.0)


class TokenizerConfig(BaseModel):
    """What rebuilds the tokeniser.

    ``modalities``: feature widths. ``item_width``: of item vectors; None: the graph encoder's.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    graph: GraphEncoderConfig
    quantizer: RQVAEConfig
    modalities: dict[str, int]
    item_width: int | None = None
