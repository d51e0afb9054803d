"""The servable artifact: a folder of kind "model" (see `mmgrec_engine.artifact`).

===================== ==================================================================
file                  contents
===================== ==================================================================
config.json           manifest: shapes, level sizes, provenance, checksums of the others
model.safetensors     recommender weights, item vectors in leaf order, user vectors
codebooks.safetensors residual quantiser (codebooks, encoder, decoder)
features.safetensors  map from features to item vectors, so that later items can be given some
trie.bin              prefix trie
items.parquet         leaf order: external id, title and other columns, Rec-ID, popularity
users.parquet         external ids of the rows of the user vectors (only where the model has any)
metrics.json          validation figures of the run
choices.json          what validation chose, for a refit
catalog/              the live catalogue, once items were edited (`catalog.live_folder`); it is
                      no part of the artifact, which stays as it was trained
===================== ==================================================================
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import ValidationError

from mmgrec_engine.artifact import MODEL, Folder, open_folder, write_folder
from mmgrec_engine.catalog.trie import Trie
from mmgrec_engine.errors import ArtifactError
from mmgrec_engine.models.config import RecommenderConfig, TokenizerConfig
from mmgrec_engine.models.feature_map import FeatureMap
from mmgrec_engine.models.item_quantizer import ItemQuantizer
from mmgrec_engine.writers import (
    map_arrays,
    read_arrays,
    write_arrays,
    write_json,
    write_table,
    write_tensors,
)

if TYPE_CHECKING:
    from torch import Tensor

    from mmgrec_engine.models.recommender import Recommender

MODEL_VERSION, READ_VERSIONS = 3, (2, 3)
"""Of what the weights mean: 2 adds the number of items to node vectors' logits, 3 the decay of a
history's older items (2 has none)."""
CATALOG = "catalog"
"""Subfolder of the live catalogue, once items were edited."""


@dataclass(frozen=True)
class ModelFolder:
    """A servable model in memory, as arrays: serving on the CPU needs no torch.

    ``weights``: `models.recommender.Recommender.state_dict`, "item_vectors" ``[N, D]`` in leaf
    order among them. ``items``: one row per leaf rank, column "item" with the external id.
    ``users``: external ids of the user vectors, or None. ``source``: the folder it was read from,
    or None.
    """

    config: RecommenderConfig
    weights: Mapping[str, NDArray[np.float32]]
    trie: Trie
    items: pl.DataFrame
    users: pl.Series | None
    source: Folder | None = None

    @classmethod
    def of_model(
        cls, model: Recommender, trie: Trie, items: pl.DataFrame, users: pl.Series | None
    ) -> ModelFolder:
        """Make one of a trained model; the arrays share the memory of a model on the CPU."""
        weights = {name: x.detach().cpu().numpy() for name, x in model.state_dict().items()}
        return cls(model.config, weights, trie, items, users)

    def model(self) -> Recommender:
        """Build the torch model, with weights of its own, for inference.

        Raises
        ------
        ArtifactError
            Configuration and weights do not fit together.
        """
        from mmgrec_engine.models.recommender import Recommender

        try:
            return Recommender.of_state(self.config, self.trie.level_sizes, self.weights)
        except (KeyError, RuntimeError) as error:
            raise _misfit(self.source, error) from error


def save_model_folder(
    path: Path,
    folder: ModelFolder,
    *,
    quantizer: Mapping[str, Tensor],
    features: Mapping[str, NDArray[np.float32]],
    tokenizer: Mapping[str, Any],
    metrics: Mapping[str, Any],
    choices: Mapping[str, Any],
    provenance: Mapping[str, Any],
) -> None:
    """Write an artifact atomically.

    Parameters
    ----------
    path : Path
        Where.
    folder : ModelFolder
        What to serve.
    quantizer, features : mapping
        State of the quantiser, and of the `FeatureMap`.
    tokenizer : mapping
        What rebuilds them: the fields of `models.config.TokenizerConfig`.
    metrics, choices, provenance : mapping
        JSON-serialisable: figures, what validation chose, and what made them (data set, preset,
        configuration, seed).
    """
    config = {
        "model_version": MODEL_VERSION,
        "recommender": folder.config.model_dump(),
        "level_sizes": folder.trie.level_sizes,
        "tokenizer": dict(tokenizer),
        "provenance": dict(provenance),
    }
    writers = {
        "model.safetensors": write_arrays(folder.weights),
        "codebooks.safetensors": write_tensors(quantizer),
        "features.safetensors": write_arrays(features),
        "trie.bin": folder.trie.save,
        "items.parquet": write_table(folder.items),
        "metrics.json": write_json(dict(metrics)),
        "choices.json": write_json(dict(choices)),
    }
    if folder.users is not None:
        writers["users.parquet"] = write_table(pl.DataFrame({"user": folder.users}))
    write_folder(path, MODEL, config, writers)


def load_model_folder(path: Path) -> ModelFolder:
    """Read and check an artifact.

    Raises
    ------
    ArtifactError
        Missing, unfinished, damaged, from another version, or its files do not fit together.
    """
    opened = open_folder(path, MODEL)
    _check_version(opened)
    # Not verified: open_folder has compared the checksums of all files.
    trie = Trie.load(opened.file("trie.bin"))
    config, weights = _read_recommender(opened, trie.level_sizes)
    items = pl.read_parquet(opened.file("items.parquet"))
    users = None
    if "users.parquet" in opened.files:
        users = pl.read_parquet(opened.file("users.parquet"))["user"]
    if len(items) != trie.num_items or len(weights["item_vectors"]) != trie.num_items:
        raise ArtifactError(
            f"{path}: trie, items and item vectors differ in number",
            value=f"{trie.num_items}, {len(items)}, {len(weights['item_vectors'])}",
            remedy="train again",
        )
    return ModelFolder(config, weights, trie, items, users, opened)


def fingerprint(source: Folder) -> str:
    """Return a hash of what edits of an artifact's items depend on: Rec-IDs and tokeniser."""
    names = ("trie.bin", "codebooks.safetensors", "features.safetensors")
    hashes = [source.files[name]["sha256"] for name in names if name in source.files]
    return hashlib.sha256("/".join(hashes).encode()).hexdigest()


def tokenizer_config(source: Folder) -> TokenizerConfig:
    """Return the configuration of the tokeniser of an artifact that was opened before.

    Raises
    ------
    ArtifactError
        The artifact does not say how to rebuild it.
    """
    if "tokenizer" not in source.config:
        raise ArtifactError(
            f"{source.path} cannot take new items: it does not say how its tokeniser is rebuilt",
            remedy="train again with this version of mmgrec",
        )
    with _fitting_tokenizer(source):
        return TokenizerConfig.model_validate(source.config["tokenizer"])


def load_item_quantizer(source: Folder) -> ItemQuantizer:
    """Read the quantiser of an artifact that was opened before.

    Raises
    ------
    ArtifactError
        The artifact does not say how to rebuild it, or has changed or been damaged since.
    """
    config, opened = tokenizer_config(source), _opened_again(source)
    with _fitting_tokenizer(source):
        state = read_arrays(opened.file("codebooks.safetensors"))
        return ItemQuantizer(config.quantizer, state, config.item_width or config.graph.width)


def load_feature_map(source: Folder) -> FeatureMap:
    """Read what gives later items vectors; errors as of the quantiser."""
    config, opened = tokenizer_config(source), _opened_again(source)
    with _fitting_tokenizer(source):
        return FeatureMap(config.modalities, read_arrays(opened.file("features.safetensors")))


def _opened_again(source: Folder) -> Folder:
    opened = open_folder(source.path, MODEL)
    if fingerprint(opened) != fingerprint(source):
        raise ArtifactError(
            f"{source.path} was written again since it was loaded", remedy="load it again"
        )
    return opened


@contextmanager
def _fitting_tokenizer(source: Folder) -> Iterator[None]:
    try:
        yield
    except (ValidationError, KeyError, ValueError, RuntimeError) as error:
        raise ArtifactError(
            f"{source.path}: its tokeniser's configuration and weights do not fit together",
            value=error,
            remedy="train again",
        ) from error


def _read_recommender(
    opened: Folder, level_sizes: Sequence[int]
) -> tuple[RecommenderConfig, dict[str, NDArray[np.float32]]]:
    weights = map_arrays(opened.file("model.safetensors"))
    try:
        config = RecommenderConfig.model_validate(opened.config["recommender"])
        trained_for = list(opened.config["level_sizes"])
        for name in ("item_vectors", "user_vectors"):
            if weights[name].ndim != 2:
                raise ValueError(f"{name} has the shape {weights[name].shape}")
    except (ValidationError, KeyError, ValueError) as error:
        raise _misfit(opened, error) from error
    if list(level_sizes) != trained_for:
        raise ArtifactError(
            f"{opened.path}: trie and model differ in level sizes",
            value=list(level_sizes),
            allowed=str(trained_for),
        )
    return config, weights


def _check_version(opened: Folder) -> None:
    version = opened.config.get("model_version", 1)
    if version not in READ_VERSIONS:
        raise ArtifactError(
            f"{opened.path} was trained by another version of mmgrec",
            value=f"model version {version}",
            allowed=" or ".join(map(str, READ_VERSIONS)),
            remedy="use the version that trained it, or train again with --restart",
        )


def _misfit(source: Folder | None, error: Exception) -> ArtifactError:
    where = "the model" if source is None else source.path
    return ArtifactError(
        f"{where}: config.json and model.safetensors do not fit together",
        value=error,
        remedy="train again",
    )
