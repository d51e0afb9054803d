"""Finished rows on disk: every user's metrics of one method, seed and split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, Protocol

import polars as pl

from mmgrec_engine.artifact import folder_exists, open_folder, write_folder
from mmgrec_engine.errors import ConfigError
from mmgrec_engine.writers import write_table

ROW, PLAN = "experiment-row", "experiment-plan"


class Named(Protocol):
    """What rows are kept of: a method (see `methods.Method` and `cold.ColdMethod`)."""

    @property
    def name(self) -> str:
        """As the table shows it."""

    @property
    def slug(self) -> str:
        """Names its folders."""

    @property
    def kind(self) -> str:
        """Baseline, oracle or ours."""

    @property
    def seeds(self) -> tuple[int, ...]:
        """Its rows."""

    @property
    def fingerprint(self) -> str:
        """Hash of the data and all that determines it besides the seed."""


@dataclass(frozen=True)
class Row:
    """A finished row: ``users`` as `per_user_metrics` returns it, and what else is reported."""

    users: pl.DataFrame
    settings: dict[str, Any]
    coverage: float
    seconds: float


@dataclass(frozen=True)
class RowStore:
    """The rows of an experiment's folder; each is there as a whole or not at all.

    A part of the table is a split, or what new items are ranked among.
    """

    out: Path

    def folder(self, method: Named, seed: int, part: IntEnum) -> Path:
        """Return where a row is kept."""
        return self.out / "rows" / f"{method.slug}-seed{seed}-{part.name.lower()}"

    def has(self, method: Named, seed: int, part: IntEnum) -> bool:
        """Say whether a row is finished."""
        return folder_exists(self.folder(method, seed, part), ROW)

    def save(self, method: Named, seed: int, part: IntEnum, row: Row) -> None:
        """Keep a row, atomically."""
        config = {
            "fingerprint": method.fingerprint,
            "settings": row.settings,
            "coverage@20": row.coverage,
            "seconds": row.seconds,
        }
        writers = {"users.parquet": write_table(row.users)}
        write_folder(self.folder(method, seed, part), ROW, config, writers)

    def load(self, method: Named, seed: int, part: IntEnum) -> Row:
        """Read a row; `ArtifactError` where it is damaged."""
        opened = open_folder(self.folder(method, seed, part), ROW)
        config = opened.config
        users = pl.read_parquet(opened.file("users.parquet"))
        return Row(users, config["settings"], config["coverage@20"], config["seconds"])

    def claim(self, methods: Sequence[Named]) -> None:
        """Note what the methods are, before any of them starts.

        Raises
        ------
        ConfigError
            The folder has work of a method of the same name with other settings or data.
        """
        folder = self.out / "plan"
        known: dict[str, str] = {}
        if folder_exists(folder, PLAN):
            known = open_folder(folder, PLAN).config["methods"]
        for method in methods:
            if known.get(method.slug, method.fingerprint) != method.fingerprint:
                raise ConfigError(
                    f"{self.out} has rows of {method.name!r} with other settings or other data",
                    remedy="give the row another name, choose another --out folder, or delete "
                    "this one",
                )
        added = {method.slug: method.fingerprint for method in methods}
        if added.items() - known.items():
            write_folder(folder, PLAN, {"methods": known | added}, {})
