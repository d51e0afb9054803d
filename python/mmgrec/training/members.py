"""Training of the graph encoders of an ensemble, side by side where there are several processes."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

import torch
from rich.console import Console
from torch import Tensor

from mmgrec.data.dataset import Dataset
from mmgrec.training.choices import TokenizerChoices
from mmgrec.training.distributed import Processes
from mmgrec.training.graph import GraphStage
from mmgrec.training.loop import epoch_generator, run_stage
from mmgrec.training.presets import TrainConfig
from mmgrec.training.reporter import Reporter

JOINT = {"members", "widest", "item_ridge"}
"""Fields of the graph encoder's shape that say how encoders are joined, and not what they are."""


class Encoded(NamedTuple):
    """Vectors ``[U, D]`` and ``[N, D]`` of a trained encoder, and after how many epochs."""

    users: Tensor
    items: Tensor
    epochs: int


def train_members(
    dataset: Dataset,
    config: TrainConfig,
    work: Path,
    device: str,
    processes: Processes,
    *,
    seed: int,
    report: Reporter,
    chosen: TokenizerChoices | None = None,
) -> list[Encoded]:
    """Train the encoders and return their user and item vectors, in the first process.

    ::

        every team of processes trains its members one after the other, each in a folder of its own
        the first process gets the vectors of all; the others return nothing

    A member's weights depend on (seed, member) alone, not on who trains it: a team of one makes the
    same ones to the bit.

    Parameters
    ----------
    work : Path
        Where the members' checkpoints are; runs of one `encoder_fingerprint` may share it.
    chosen : TokenizerChoices, optional
        The epochs of every encoder, where they were chosen before.
    """
    members, shape = config.graph.members, config.graph
    own, team = processes.teams(members)
    if processes.count > 1:
        report.say(
            f"Graph encoders: {members}, on {processes.count} processes; those of the first:"
        )
    if team.first and not processes.first:
        report = Reporter(Console(quiet=True), work / "logs")
    epoch_generator(seed, "initial graph weights", 0)
    fingerprint = encoder_fingerprint(dataset, config, seed)
    first = GraphStage(dataset, shape, config.graph_training, device, team)
    trained = {}
    for member in own:
        exactly = None if chosen is None else chosen.encoders[member]
        epoch_generator(seed, "initial graph weights", member)
        stage = first.another(member) if member > 0 else first
        progress = run_stage(
            stage,
            config.graph_training.loop,
            folder=work / stage.name,
            fingerprint=fingerprint if exactly is None else f"{fingerprint}/{exactly} epochs",
            seed=seed,
            report=report,
            processes=team,
            epochs=exactly,
        )
        trained[member] = *stage.vectors(), torch.tensor([progress.kept])
    return _gathered(trained, members, dataset, shape.width, processes)


def encoder_fingerprint(dataset: Dataset, config: TrainConfig, seed: int) -> str:
    """Return the hash of all that an encoder's weights depend on but its place in the ensemble."""
    shape = config.graph.model_dump_json(exclude=JOINT)
    digest = hashlib.sha256(f"{seed}/{shape}/{config.graph_training.model_dump_json()}".encode())
    dataset.hash_into(digest)
    return digest.hexdigest()


def _gathered(
    own: dict[int, tuple[Tensor, Tensor, Tensor]],
    members: int,
    dataset: Dataset,
    width: int,
    processes: Processes,
) -> list[Encoded]:
    gathered = []
    for member in range(members):
        users, items, epochs = own.get(member) or (
            torch.empty(dataset.num_users, width),
            torch.empty(dataset.num_items, width),
            torch.zeros(1, dtype=torch.int64),
        )
        for part in (users, items, epochs):
            processes.to_first(part, member % processes.count)
        gathered.append(Encoded(users, items, int(epochs)))
    return gathered if processes.first else []
