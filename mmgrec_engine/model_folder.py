"""The servable artifact: a folder of kind "model" (see `mmgrec_engine.artifact`).

===================== ==================================================================
file                  contents
===================== ==================================================================
config.json           manifest: shapes, level sizes, provenance, checksums of the others
model.safetensors     recommender weights, item vectors in leaf order, user vectors
codebooks.safetensors residual quantiser (codebooks, encoder, decoder)
graph.safetensors     graph encoder, so that later items can be given vectors
trie.bin              prefix trie
items.parquet         leaf order: external id, title and other columns, Rec-ID, popularity
users.parquet         external ids of the rows of the user vectors (only where the model has any)
metrics.json          validation figures of the run
catalog/              the live catalogue, once items were edited (`catalog.live_folder`); it is
                      no part of the artifact, which stays as it was trained
===================== ==================================================================
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from pydantic import ValidationError
from torch import Tensor

from mmgrec_engine.artifact import Folder, open_folder, write_folder
from mmgrec_engine.catalog.trie import Trie
from mmgrec_engine.errors import ArtifactError
from mmgrec_engine.models.config import RecommenderConfig
from mmgrec_engine.models.recommender import Recommender
from mmgrec_engine.writers import read_tensors, write_json, write_table, write_tensors

if TYPE_CHECKING:
    from mmgrec_engine.models.item_tokenizer import ItemTokenizer

KIND = "model"
CATALOG = "catalog"
"""Subfolder of the live catalogue, once items were edited."""


@dataclass(frozen=True)
class ModelFolder:
    """A servable model in memory.

    ``items``: one row per leaf rank, column "item" with the external id. ``users``: external ids of
    the user vectors, or None. ``source``: the folder it was read from, or None.
    """

    model: Recommender
    trie: Trie
    items: pl.DataFrame
    users: pl.Series | None
    source: Folder | None = None


def save_model_folder(
    path: Path,
    folder: ModelFolder,
    *,
    quantizer: Mapping[str, Tensor],
    graph: Mapping[str, Tensor],
    tokenizer: Mapping[str, Any],
    metrics: Mapping[str, Any],
    provenance: Mapping[str, Any],
) -> None:
    """Write an artifact atomically.

    Parameters
    ----------
    path : Path
        Where.
    folder : ModelFolder
        What to serve.
    quantizer, graph : mapping
        State of the tokeniser's two models.
    tokenizer : mapping
        What rebuilds them: the fields of `models.item_tokenizer.TokenizerConfig`.
    metrics, provenance : mapping
        JSON-serialisable figures, and what made them (data set, preset, configuration, seed).
    """
    config = {
        "recommender": folder.model.config.model_dump(),
        "level_sizes": folder.model.level_sizes,
        "tokenizer": dict(tokenizer),
        "provenance": dict(provenance),
    }
    writers = {
        "model.safetensors": write_tensors(folder.model.state_dict()),
        "codebooks.safetensors": write_tensors(quantizer),
        "graph.safetensors": write_tensors(graph),
        "trie.bin": folder.trie.save,
        "items.parquet": write_table(folder.items),
        "metrics.json": write_json(dict(metrics)),
    }
    if folder.users is not None:
        writers["users.parquet"] = write_table(pl.DataFrame({"user": folder.users}))
    write_folder(path, KIND, config, writers)


def load_model_folder(path: Path) -> ModelFolder:
    """Read and check an artifact.

    Raises
    ------
    ArtifactError
        Missing, unfinished, damaged, from another version, or its files do not fit together.
    """
    opened = open_folder(path, KIND)
    # Not verified: open_folder has compared the checksums of all files.
    trie = Trie.load(opened.file("trie.bin"))
    model = _load_model(opened, trie)
    items = pl.read_parquet(opened.file("items.parquet"))
    users = None
    if "users.parquet" in opened.files:
        users = pl.read_parquet(opened.file("users.parquet"))["user"]
    if len(items) != trie.num_items or len(model.item_vectors) != trie.num_items:
        raise ArtifactError(
            f"{path}: trie, items and item vectors differ in number",
            value=f"{trie.num_items}, {len(items)}, {len(model.item_vectors)}",
            remedy="train again",
        )
    return ModelFolder(model, trie, items, users, opened)


def fingerprint(source: Folder) -> str:
    """Return a hash of what edits of an artifact's items depend on: Rec-IDs and tokeniser."""
    names = ("trie.bin", "codebooks.safetensors", "graph.safetensors")
    hashes = [source.files[name]["sha256"] for name in names if name in source.files]
    return hashlib.sha256("/".join(hashes).encode()).hexdigest()


def load_item_tokenizer(source: Folder) -> ItemTokenizer:
    """Read the tokeniser of an artifact that was opened before.

    Raises
    ------
    ArtifactError
        The artifact does not say how to rebuild it, or has changed or been damaged since.
    """
    # Imports torch_geometric, which takes a while and is not needed to recommend.
    from mmgrec_engine.models.item_tokenizer import ItemTokenizer, TokenizerConfig

    if "tokenizer" not in source.config:
        raise ArtifactError(
            f"{source.path} cannot take new items: it does not say how its tokeniser is rebuilt",
            remedy="train again with this version of mmgrec",
        )
    opened = open_folder(source.path, KIND)
    if fingerprint(opened) != fingerprint(source):
        raise ArtifactError(
            f"{source.path} was written again since it was loaded", remedy="load it again"
        )
    try:
        return ItemTokenizer(
            TokenizerConfig.model_validate(opened.config["tokenizer"]),
            read_tensors(opened.file("graph.safetensors")),
            read_tensors(opened.file("codebooks.safetensors")),
        )
    except (ValidationError, KeyError, RuntimeError) as error:
        raise ArtifactError(
            f"{source.path}: its tokeniser's configuration and weights do not fit together",
            value=error,
            remedy="train again",
        ) from error


def _load_model(opened: Folder, trie: Trie) -> Recommender:
    state = read_tensors(opened.file("model.safetensors"))
    try:
        config = RecommenderConfig.model_validate(opened.config["recommender"])
        known = state["user_vectors"] if len(state["user_vectors"]) else None
        model = Recommender(config, opened.config["level_sizes"], state["item_vectors"], known)
        model.load_state_dict(state)
    except (ValidationError, KeyError, RuntimeError) as error:
        raise ArtifactError(
            f"{opened.path}: config.json and model.safetensors do not fit together", value=error
        ) from error
    if list(trie.level_sizes) != model.level_sizes:
        raise ArtifactError(
            f"{opened.path}: trie and model differ in level sizes",
            value=list(trie.level_sizes),
            allowed=str(model.level_sizes),
        )
    return model.eval().requires_grad_(False)
