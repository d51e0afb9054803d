"""What a scoring job computes, and how it goes about it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from mmgrec_engine.artifact import MANIFEST, sha256_of
from mmgrec_engine.errors import ConfigError
from mmgrec_engine.model_folder import CATALOG


class OnError(StrEnum):
    """What a row that cannot be scored does to the job."""

    stop = "stop"
    skip = "skip"


class ScoreSettings(BaseModel):
    """What decides the results: two jobs with equal settings give equal tables.

    ``where``: named filters for rows without an expression of their own. ``filters``: name to a
    Parquet file with the items (column "item"). ``drop_unknown``: leave unknown items out of
    histories and lists, instead of refusing the row.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    k: int = Field(default=10, ge=1)
    beam_width: int = Field(default=50, ge=1)
    exclude_seen: bool = True
    device: str = "cpu"
    precision: str = "fp32"
    where: str | None = None
    filters: Mapping[str, Path] = Field(default_factory=dict)
    drop_unknown: bool = False

    def described(self) -> dict[str, Any]:
        """Return the settings as JSON, filters by their contents."""
        plain = self.model_dump(mode="json", exclude={"filters"})
        return plain | {
            f"filter {name}": _hash_of_filter(name, path) for name, path in self.filters.items()
        }


def artifact_fingerprint(run: Path) -> str:
    """Return a hash of a run's artifact and of the edits that were made to its items."""
    files = [run / MANIFEST, *sorted(p for p in (run / CATALOG).glob("*") if p.is_file())]
    digest = hashlib.sha256()
    for path in files:
        if path.is_file():
            digest.update(f"{path.name} {sha256_of(path)}\n".encode())
    return digest.hexdigest()


def _hash_of_filter(name: str, path: Path) -> str:
    if not path.is_file():
        raise ConfigError(f"filter {name!r}: {path} does not exist", remedy="check the path")
    return sha256_of(path)
