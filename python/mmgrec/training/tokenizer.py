"""Tokenising a catalogue: graph encoder, residual quantiser, collision tokens, Rec-IDs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmgrec.data.dataset import Dataset, Split
from mmgrec.training.checkpoint import check_fingerprint
from mmgrec.training.choices import TokenizerChoices
from mmgrec.training.distributed import ALONE, Processes
from mmgrec.training.ensemble import join_members
from mmgrec.training.item_ridge import (
    CANDIDATES,
    Judge,
    blend_item_ridge,
    join_as_wide,
    join_item_ridge,
)
from mmgrec.training.loop import epoch_generator, run_stage
from mmgrec.training.members import Encoded, train_members
from mmgrec.training.new_items import fit_new_items
from mmgrec.training.presets import TrainConfig
from mmgrec.training.quantizer import QuantizerStage
from mmgrec.training.reporter import Reporter
from mmgrec_engine.artifact import folder_exists, open_folder, write_folder
from mmgrec_engine.errors import ArtifactError
from mmgrec_engine.models.config import TokenizerConfig
from mmgrec_engine.ops.backends import choose
from mmgrec_engine.ops.rq_assign import Assignment, rq_assign
from mmgrec_engine.rec_ids.collisions import popularity_tokens
from mmgrec_engine.rec_ids.health import RecIdHealth, rec_id_health
from mmgrec_engine.rec_ids.kmeans import residual_kmeans
from mmgrec_engine.writers import (
    read_arrays,
    read_tensors,
    write_arrays,
    write_json,
    write_table,
    write_tensors,
)

KIND = "tokenizer"


@dataclass(frozen=True)
class Tokenized:
    """A tokenised catalogue, all in the data set's row order.

    ``rec_ids`` ``[N, T]``; ``item_vectors`` ``[N, D]``; ``user_vectors`` ``[U, D]``; states of the
    quantiser and of the map from features to item vectors; ``health`` of the codes; ``choices``:
    what validation chose.
    """

    rec_ids: NDArray[np.int32]
    level_sizes: list[int]
    item_vectors: Tensor
    user_vectors: Tensor
    quantizer: dict[str, Tensor]
    features: dict[str, NDArray[np.float32]]
    health: RecIdHealth
    choices: TokenizerChoices


def tokenize(
    dataset: Dataset,
    config: TrainConfig,
    *,
    folder: Path,
    work: Path,
    encoders: Path,
    fingerprint: str,
    seed: int,
    report: Reporter,
    device: str = "cpu",
    processes: Processes = ALONE,
    chosen: TokenizerChoices | None = None,
) -> Tokenized:
    """Give every item a Rec-ID, or read the Rec-IDs that an earlier call left in ``folder``.

    ::

        vectors = train the graph encoders; join their vectors, and an item-item ridge regression
        codes   = residual quantiser of the item vectors
        rec_id  = (codes, rank by popularity among items with the same codes)

    Parameters
    ----------
    dataset : Dataset
        Catalogue and training interactions.
    config : TrainConfig
        Shapes and trainings.
    folder, work, encoders : Path
        Where the result goes, and where checkpoints of the quantiser and of the encoders go.
    fingerprint : str
        Of data, configuration and seed; a result with another one is refused.
    seed : int
        Of everything random.
    report : Reporter
        Progress.
    device : str
        Where the models train.
    processes : Processes
        That train the encoders; the others call `train_members`.
    chosen : TokenizerChoices, optional
        What was chosen before; nothing is validated then.
    """
    if folder_exists(folder, KIND):
        return load_tokenized(folder, fingerprint)
    report.say(f"Tokenising {dataset.num_items:,} items")
    common: dict[str, Any] = {"seed": seed, "report": report}
    train = dataset.histories(Split.TRAIN)
    members = train_members(dataset, config, encoders, device, processes, chosen=chosen, **common)
    users, items, ridge = _join(dataset, config, members, chosen, common)
    features = fit_new_items(dataset.modalities, train, (users, items), seed)
    epoch_generator(seed, "initial quantizer weights", 0)
    quantizer = QuantizerStage(items, config.quantizer, config.quantizer_training, seed, device)
    quantizer_epochs = None
    if config.quantizer.method == "rqvae":
        progress = run_stage(
            quantizer,
            config.quantizer_training.loop,
            folder=work / "quantizer",
            fingerprint=fingerprint,
            epochs=None if chosen is None else chosen.quantizer,
            **common,
        )
        quantizer_epochs = progress.kept
    else:
        quantizer.initialise_codebooks()
    with report.counter("codes", dataset.num_items) as advance:
        found = quantizer.assign(advance)
    choices = TokenizerChoices(
        encoders=tuple(member.epochs for member in members),
        quantizer=quantizer_epochs,
        width=items.shape[1],
        ridge_strength=ridge[0],
        ridge_share=ridge[1],
    )
    result = _assemble(dataset, quantizer, features, (users, items), found, choices)
    _save(folder, dataset, result, config, fingerprint)
    return result


def tokenizer_config(
    dataset: Dataset, config: TrainConfig, item_vectors: Tensor
) -> TokenizerConfig:
    """Return what the engine needs to give later items vectors and codes."""
    widths = {name: modality.values.shape[1] for name, modality in dataset.modalities.items()}
    return TokenizerConfig(
        graph=config.graph,
        quantizer=config.quantizer,
        modalities=widths,
        item_width=item_vectors.shape[1],
    )


def tokenizer_fingerprint(folder: Path) -> str:
    """Return the hash of data, configuration and seed that a tokeniser was made with."""
    fingerprint: str = open_folder(folder, KIND).config["fingerprint"]
    return fingerprint


def load_tokenized(folder: Path, fingerprint: str) -> Tokenized:
    """Read a tokeniser folder.

    Raises
    ------
    ArtifactError
        Damaged, or made with other settings or data, or by a version that did not note choices.
    """
    opened = open_folder(folder, KIND)
    check_fingerprint(opened, fingerprint)
    if "choices" not in opened.config:
        raise ArtifactError(
            f"{folder} does not say what validation chose: an older version of mmgrec made it",
            remedy="start over with --restart, or delete this folder (checkpoints go on)",
        )
    vectors = read_tensors(opened.file("vectors.safetensors"))
    table = pl.read_parquet(opened.file("rec_ids.parquet"))
    return Tokenized(
        rec_ids=table.select(pl.selectors.starts_with("token_")).to_numpy().astype(np.int32),
        level_sizes=opened.config["level_sizes"],
        item_vectors=vectors["items"],
        user_vectors=vectors["users"],
        quantizer=read_tensors(opened.file("codebooks.safetensors")),
        features=read_arrays(opened.file("features.safetensors")),
        health=RecIdHealth.model_validate_json(opened.file("health.json").read_text()),
        choices=TokenizerChoices.model_validate(opened.config["choices"]),
    )


def _join(
    dataset: Dataset,
    config: TrainConfig,
    members: list[Encoded],
    chosen: TokenizerChoices | None,
    common: dict[str, Any],
) -> tuple[Tensor, Tensor, tuple[float, float]]:
    """Return joint vectors of the members and a ridge regression, its strength and its share."""
    member_users, member_items = [m.users for m in members], [m.items for m in members]
    seed, shape = common["seed"], config.quantizer
    train, valid = dataset.histories(Split.TRAIN), dataset.histories(Split.VALID)
    if chosen is not None:
        users, items = join_members(member_users, member_items, chosen.width)
        ridge = chosen.ridge_strength, chosen.ridge_share
        return *blend_item_ridge(users, items, train, *ridge, seed), ridge

    def codes_of(vectors: Tensor) -> NDArray[np.integer[Any]]:
        size = shape.semantic_levels, shape.codebook_size
        codebooks = residual_kmeans(vectors, *size, seed=seed, backend=choose("rq_assign"))
        return rq_assign(vectors, codebooks).codes.numpy()

    judge = Judge(train, valid, codes_of, config.graph_training.score_scale)
    users, items, score = join_as_wide(member_users, member_items, config.graph.widest, judge)
    if not config.graph.item_ridge:
        return users, items, (0.0, 0.0)
    with common["report"].counter("item ridge", CANDIDATES) as advance:
        users, items, found = join_item_ridge(users, items, judge, seed, advance, score=score)
    return users, items, (found.strength, found.share)


@torch.no_grad()
def _assemble(
    dataset: Dataset,
    quantizer: QuantizerStage,
    features: dict[str, NDArray[np.float32]],
    vectors: tuple[Tensor, Tensor],
    found: Assignment,
    choices: TokenizerChoices,
) -> Tokenized:
    users, items = vectors
    model = quantizer.model.eval().cpu()
    semantic = found.codes.numpy().astype(np.int32)
    rebuilt = model.reconstruct(found.codes).numpy()
    train = dataset.histories(Split.TRAIN)
    popularity = np.bincount(train.item_rows, minlength=dataset.num_items)
    collision = popularity_tokens(semantic, popularity)
    size = model.config.codebook_size
    return Tokenized(
        rec_ids=np.column_stack([semantic, collision]).astype(np.int32),
        level_sizes=[size] * model.config.semantic_levels + [int(collision.max()) + 1],
        item_vectors=items,
        user_vectors=users,
        quantizer=model.state_dict(),
        features=features,
        health=rec_id_health(semantic, size, items.numpy(), rebuilt, _numpy(found.top2)),
        choices=choices,
    )


def _numpy(top2: Tensor | None) -> NDArray[np.float32]:
    assert top2 is not None  # the catalogue was assigned with it
    array: NDArray[np.float32] = top2.numpy()
    return array


def _save(
    folder: Path, dataset: Dataset, result: Tokenized, config: TrainConfig, fingerprint: str
) -> None:
    tokens = {f"token_{t}": result.rec_ids[:, t] for t in range(result.rec_ids.shape[1])}
    rec_ids = pl.DataFrame({"item": dataset.items["item"], **tokens})
    described = {
        "fingerprint": fingerprint,
        "level_sizes": result.level_sizes,
        "choices": result.choices.model_dump(),
        **tokenizer_config(dataset, config, result.item_vectors).model_dump(),
    }
    vectors = {"items": result.item_vectors, "users": result.user_vectors}
    writers = {
        "rec_ids.parquet": write_table(rec_ids),
        "vectors.safetensors": write_tensors(vectors),
        "codebooks.safetensors": write_tensors(result.quantizer),
        "features.safetensors": write_arrays(result.features),
        "health.json": write_json(result.health.model_dump()),
    }
    write_folder(folder, KIND, described, writers)
