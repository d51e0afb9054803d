"""The file that describes a results table."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    ValidationError,
    field_validator,
    model_validator,
)

from mmgrec.training.presets import TrainConfig, field_error, preset
from mmgrec_engine.errors import ConfigError

BaselineName = Literal[
    "popular", "itemknn", "ease", "bpr-mf", "lightgcn", "lightgcn-softmax", "vbpr"
]
T = TypeVar("T")

CLOSED_FORM = ("popular", "itemknn", "ease")
"""Baselines that can be fitted once more with settings that were chosen before."""

COLD_ROWS = ("random", "popular", "content-knn")
"""What a table of new items has beside ours."""


class Variant(BaseModel):
    """One configuration of ours: a preset, and what differs from it.

    ``rows``: what of it stands in the table. "generative" is the recommender; "dense" ranks by the
    dot products of its graph encoder, without Rec-IDs; "reranked" orders the recommender's best 50
    by a mix of both scores, whose share is chosen on validation.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    preset: str = "default"
    overrides: dict[str, Any] = {}
    rows: list[Literal["generative", "dense", "reranked"]] = Field(
        default=["generative"], min_length=1
    )

    @field_validator("rows")
    @classmethod
    def _distinct(cls, values: list[str]) -> list[str]:
        return distinct(values)

    def named(self, row: str) -> tuple[str, str]:
        """Return what a row is called in the table, and in folders."""
        if row == "generative":
            return self.name, self.name
        return f"{self.name}, {row}", f"{self.name}.{row}"

    def train_config(self) -> TrainConfig:
        """Return the preset with the overrides; `ConfigError` names a field that does not fit."""
        merged = _merge(preset(self.preset).model_dump(), self.overrides)
        try:
            return TrainConfig.model_validate(merged)
        except ValidationError as error:
            raise field_error(error, f"overrides of {self.name!r}") from None


class ColdConfig(BaseModel):
    """Measure items that are new after training: ``share`` of those with features is held out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    share: float = Field(default=0.1, gt=0, lt=1)


class ExperimentConfig(BaseModel):
    """A results table.

    ``data``: folder of the data set. ``ours`` and ``baselines``: the rows. ``seeds``: at least
    three, so that their spread can be told. ``test``: open the test split too. ``grids``: values
    per hyperparameter of a baseline, instead of its own. ``resamples``: of the bootstrap.
    ``cold``: another table, of new items; its baselines are always the same. ``refit``: rank the
    test split by methods that are fitted once more, on validation items too, with what was chosen
    on these. ``against``: the row that differences are to, in place of the best baseline; an
    ablation's whole model.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: Path
    ours: list[Variant] = []
    baselines: list[BaselineName] = []
    seeds: list[NonNegativeInt] = Field(default=[0, 1, 2], min_length=3)
    test: bool = False
    refit: bool = False
    grids: dict[BaselineName, dict[str, list[float]]] = {}
    resamples: int = Field(default=10_000, ge=10_000, le=10_000_000)
    beam_width: int = Field(default=50, ge=1)
    cold: ColdConfig | None = None
    against: str | None = None

    @field_validator("seeds", "baselines")
    @classmethod
    def _distinct(cls, values: list[Any]) -> list[Any]:
        return distinct(values)

    @model_validator(mode="after")
    def _rows(self) -> ExperimentConfig:
        names = [variant.name for variant in self.ours]
        if len(set(names)) < len(names) or set(names) & set(self.baselines):
            raise ValueError("two rows have one name")
        if self.cold is not None and (self.baselines or self.test):
            raise ValueError(
                "'cold' has baselines and targets of its own: leave 'baselines' and 'test' out"
            )
        if self.cold is not None and any("reranked" in variant.rows for variant in self.ours):
            raise ValueError("'cold' has no rows \"reranked\"")
        if self.cold is not None and set(names) & set(COLD_ROWS):
            raise ValueError("two rows have one name")
        if self.refit and not self.test:
            raise ValueError("'refit' is for the test split: it needs 'test = true'")
        trained = [name for name in self.baselines if name not in CLOSED_FORM]
        if self.refit and trained:
            raise ValueError(
                f"'refit' has no baselines that are trained by epochs: {', '.join(trained)}"
            )
        if not names and not self.baselines and self.cold is None:
            raise ValueError("no rows: give 'ours' or 'baselines'")
        rows = {*self.baselines} | {v.named(row)[0] for v in self.ours for row in v.rows}
        if self.against is not None and (self.cold is not None or self.against not in rows):
            raise ValueError("'against' names no row of the table; 'cold' does not take it")
        if set(self.grids) - set(self.baselines):
            raise ValueError("'grids' names a baseline that is not in 'baselines'")
        return self


def load_experiment(path: Path) -> ExperimentConfig:
    """Read a configuration, TOML or by its name JSON.

    Raises
    ------
    ConfigError
        The file cannot be read or parsed, or a field is missing, unknown or out of range.
    """
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read {path}", value=error, allowed="TOML or JSON") from None
    try:
        config = ExperimentConfig.model_validate(content)
    except ValidationError as error:
        raise field_error(error, str(path)) from None
    for variant in config.ours:
        variant.train_config()
    return config


def distinct(values: list[T]) -> list[T]:
    """Return the values of a field; `ValueError` where one occurs twice."""
    if len(set(values)) < len(values):
        raise ValueError("an entry occurs twice")
    return values


def _merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for name, value in changes.items():
        inner = merged.get(name)
        both = isinstance(inner, dict) and isinstance(value, dict)
        merged[name] = _merge(inner, value) if both else value  # type: ignore[arg-type]
    return merged
