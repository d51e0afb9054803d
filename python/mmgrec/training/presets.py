"""Complete training configurations under a name."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from mmgrec.training.graph import GraphTraining
from mmgrec.training.loop import LoopConfig
from mmgrec.training.quantizer import QuantizerTraining
from mmgrec.training.recommender import RecommenderTraining
from mmgrec_engine.errors import ConfigError
from mmgrec_engine.models.config import GraphEncoderConfig, RecommenderConfig, RQVAEConfig


class TrainConfig(BaseModel):
    """Everything that determines a run besides data and seed: three shapes, three trainings."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    graph: GraphEncoderConfig
    graph_training: GraphTraining
    quantizer: RQVAEConfig
    quantizer_training: QuantizerTraining
    recommender: RecommenderConfig
    recommender_training: RecommenderTraining

    @model_validator(mode="after")
    def _codebooks_are_made(self) -> TrainConfig:
        warm_up, loop = self.quantizer_training.warmup_epochs, self.quantizer_training.loop
        if self.quantizer.method == "rqvae" and warm_up >= loop.epochs:
            raise ValueError(
                f"quantizer_training.loop.epochs {loop.epochs} ends before the codebooks are made, "
                f"which is after quantizer_training.warmup_epochs {warm_up}"
            )
        return self


def preset(name: str) -> TrainConfig:
    """Return a named configuration.

    ``default`` is what measured best (docs/decisions.md); ``reference`` is what the MMGRec paper
    and its official code define.

    Raises
    ------
    ConfigError
        The name is unknown.
    """
    if name not in PRESETS:
        raise ConfigError("unknown preset", value=name, allowed=", ".join(sorted(PRESETS)))
    return PRESETS[name]


def load_config(text: str) -> TrainConfig:
    """Parse a configuration from JSON (for example a copy of a run's own).

    Raises
    ------
    ConfigError
        A field is missing, unknown or out of range.
    """
    try:
        return TrainConfig.model_validate_json(text)
    except ValidationError as error:
        raise field_error(error, "configuration") from None


def field_error(error: ValidationError, what: str) -> ConfigError:
    """Return the error that names the first field of ``what`` that is wrong, and its value."""
    first = error.errors()[0]
    if not first["loc"]:  # the fields do not fit together
        return ConfigError(f"{what}: {first['msg']}")
    field = ".".join(str(part) for part in first["loc"])
    return ConfigError(f"{what}, field {field}: {first['msg']}", value=repr(first["input"]))


_DEFAULT = TrainConfig(
    graph=GraphEncoderConfig(
        width=64,
        layers=2,
        propagation="lightgcn",
        free_share=0.5,
        neighbours=10,
        members=4,
        widest=128,
        item_ridge=True,
    ),
    graph_training=GraphTraining(
        loop=LoopConfig(
            epochs=250, learning_rate=5e-3, weight_decay=0.01, validate_every=3, patience=5
        ),
        loss="softmax",
        temperature=0.2,
        batch_users=512,
    ),
    quantizer=RQVAEConfig(method="rqkmeans", codebook_size=256, semantic_levels=2),
    quantizer_training=QuantizerTraining(
        loop=LoopConfig(epochs=200, learning_rate=1e-3, validate_every=10, patience=5)
    ),
    recommender=RecommenderConfig(max_history=512, history_order=True),
    recommender_training=RecommenderTraining(
        loop=LoopConfig(
            epochs=12,
            learning_rate=5e-4,
            weight_decay=0.01,
            patience=3,
            validate_start=True,
        ),
        batch_users=128,
        target_share=(0.3, 0.7),
    ),
)

_REFERENCE = TrainConfig(
    graph=GraphEncoderConfig(width=64, layers=2, propagation="graphsage", free_share=0.5),
    graph_training=GraphTraining(
        loop=LoopConfig(epochs=150, learning_rate=1e-3, validate_every=3, patience=8), loss="bpr"
    ),
    quantizer=RQVAEConfig(
        method="rqvae", codebook_size=128, semantic_levels=3, latent=32, codebook_update="loss"
    ),
    quantizer_training=QuantizerTraining(
        loop=LoopConfig(epochs=300, learning_rate=1e-3, validate_every=10, patience=5)
    ),
    recommender=RecommenderConfig(
        head_width=64,
        feed_forward=64,
        node_vectors=False,
        normalise="full",
        user_vector="graph",
    ),
    recommender_training=RecommenderTraining(
        loop=LoopConfig(
            epochs=60, learning_rate=1e-3, weight_decay=0.01, validate_every=2, patience=5
        )
    ),
)

PRESETS = {"default": _DEFAULT, "reference": _REFERENCE}
