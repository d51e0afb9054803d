"""State of a training stage on disk, so that a killed run goes on where it was.

All randomness of an epoch derives from (seed, stage, epoch). Restoring weights, optimiser state and
counters at an epoch boundary therefore reproduces the uninterrupted run, without saving generators.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from mmgrec_engine.artifact import Folder, folder_exists, open_folder, write_folder
from mmgrec_engine.errors import ArtifactError
from mmgrec_engine.writers import read_tensors, write_tensors

KIND = "checkpoint"


@dataclass
class Progress:
    """Counters of a stage.

    ``stale`` counts the validations since the best one; ``finished`` is set after the last epoch.
    """

    epoch: int = 0
    step: int = 0
    best_score: float = float("-inf")
    best_epoch: int = -1
    stale: int = 0
    finished: bool = False

    @property
    def kept(self) -> int:
        """Epochs of the weights that the stage ends with: the best ones, or the last."""
        return self.best_epoch if self.best_epoch >= 0 else self.epoch


def save_checkpoint(
    folder: Path,
    fingerprint: str,
    progress: Progress,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    best: dict[str, Tensor],
) -> None:
    """Write weights, best weights, optimiser state and counters as one atomic folder."""
    config = {"fingerprint": fingerprint, **asdict(progress)}
    config["best_score"] = repr(progress.best_score)  # JSON has no infinity
    writers = {
        "weights.safetensors": write_tensors(trained_state(model)),
        "best.safetensors": write_tensors(best),
        "optimizer.safetensors": write_tensors(_flatten(optimizer)),
    }
    write_folder(folder, KIND, config, writers)


def best_weights(folder: Path) -> dict[str, Tensor]:
    """Read the weights that a finished stage ended with; `ArtifactError` where there are none."""
    opened = open_folder(folder, KIND)
    name = "best" if opened.config["best_epoch"] >= 0 else "weights"
    return read_tensors(opened.file(f"{name}.safetensors"))


def load_checkpoint(
    folder: Path, fingerprint: str, model: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[Progress, dict[str, Tensor]] | None:
    """Restore a stage in place; None when there is no checkpoint yet.

    Raises
    ------
    ArtifactError
        The checkpoint is damaged, or was made with other settings or data.
    """
    if not folder_exists(folder, KIND):
        return None
    opened = open_folder(folder, KIND)
    check_fingerprint(opened, fingerprint)
    config = {name: value for name, value in opened.config.items() if name != "fingerprint"}
    config["best_score"] = float(config["best_score"])
    model.load_state_dict(read_tensors(opened.file("weights.safetensors")), strict=False)
    _restore(optimizer, read_tensors(opened.file("optimizer.safetensors")))
    return Progress(**config), read_tensors(opened.file("best.safetensors"))


def check_fingerprint(opened: Folder, fingerprint: str) -> None:
    """Raise `ArtifactError` where a folder was made with other settings or data."""
    if opened.config["fingerprint"] != fingerprint:
        raise ArtifactError(
            f"{opened.path} was made with other settings or other data",
            remedy="choose another --out folder, or start over with --restart",
        )


def trained_state(model: nn.Module) -> dict[str, Tensor]:
    """Return copies of everything training changes: parameters, and buffers that are not frozen."""
    frozen: frozenset[str] = getattr(model, "frozen_buffers", frozenset())
    return {k: v.detach().clone() for k, v in model.state_dict().items() if k not in frozen}


def _flatten(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    state = optimizer.state_dict()["state"]
    return {f"{i}.{name}": value for i, slot in state.items() for name, value in slot.items()}


def _restore(optimizer: torch.optim.Optimizer, flat: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in flat.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
