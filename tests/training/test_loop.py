"""The training loop: early stopping, resume, errors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

import mmgrec.training.loop as loop
from mmgrec.training.loop import LoopConfig, run_stage
from mmgrec.training.reporter import Reporter
from mmgrec_engine.errors import ArtifactError, DataError


class Line:
    """Fit y = 2 x with dropout, so that every source of randomness is in play."""

    name = "line"

    def __init__(self, stop_at: int | None = None, nan: bool = False) -> None:
        torch.manual_seed(5)
        self.model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 1))
        self.stop_at, self.nan = stop_at, nan
        self.scores: list[float] = []

    def batches(self, epoch: int, generator: torch.Generator) -> Iterator[Tensor]:
        if epoch == self.stop_at:
            raise KeyboardInterrupt
        for _ in range(3):
            x = torch.randn(8, 3, generator=generator)
            loss = (self.model(x)[:, 0] - 2 * x[:, 0]).square().mean()
            yield loss * float("nan") if self.nan else loss

    def validate(self) -> float | None:
        return self.scores.pop(0) if self.scores else None


@pytest.fixture
def report(tmp_path: Path) -> Reporter:
    return Reporter(Console(quiet=True), tmp_path / "logs")


CONFIG = LoopConfig(epochs=8, learning_rate=0.05, warmup_steps=4)


def test_a_killed_run_resumes_to_the_same_weights(
    tmp_path: Path, report: Reporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    common = {"fingerprint": "f", "seed": 3, "report": report}
    whole = Line()
    run_stage(whole, CONFIG, folder=tmp_path / "whole", **common)  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):
        run_stage(Line(stop_at=5), CONFIG, folder=tmp_path / "cut", **common)  # type: ignore[arg-type]
    resumed = Line()
    progress = run_stage(resumed, CONFIG, folder=tmp_path / "cut", **common)  # type: ignore[arg-type]
    assert (progress.epoch, progress.step) == (8, 24)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


def test_finished_stage_is_not_trained_again(tmp_path: Path, report: Reporter) -> None:
    common = {"fingerprint": "f", "seed": 3, "report": report, "folder": tmp_path / "c"}
    first = Line()
    run_stage(first, CONFIG, **common)  # type: ignore[arg-type]
    again = Line(stop_at=0)
    run_stage(again, CONFIG, **common)  # type: ignore[arg-type]
    assert torch.equal(first.model[0].weight, again.model[0].weight)


def test_other_settings_do_not_resume(tmp_path: Path, report: Reporter) -> None:
    common = {"seed": 3, "report": report, "folder": tmp_path / "c"}
    run_stage(Line(), CONFIG, fingerprint="one", **common)  # type: ignore[arg-type]
    with pytest.raises(ArtifactError, match="other settings"):
        run_stage(Line(), CONFIG, fingerprint="two", **common)  # type: ignore[arg-type]


def test_early_stopping_returns_the_best_weights(tmp_path: Path, report: Reporter) -> None:
    config = LoopConfig(epochs=8, learning_rate=0.05, patience=2)
    stage = Line()
    stage.scores = [0.1, 0.5, 0.4, 0.3, 9.0]
    progress = run_stage(
        stage, config, folder=tmp_path / "c", fingerprint="f", seed=3, report=report
    )
    assert (progress.epoch, progress.best_epoch, progress.best_score) == (4, 2, 0.5)
    two = Line()
    two.scores = [0.1, 0.5]
    run_stage(
        two,
        config.model_copy(update={"epochs": 2}),
        folder=tmp_path / "d",
        fingerprint="f",
        seed=3,
        report=report,
    )
    assert torch.equal(stage.model[0].weight, two.model[0].weight)


def test_loss_that_is_not_finite_stops_with_a_message(tmp_path: Path, report: Reporter) -> None:
    with pytest.raises(DataError, match="not finite in epoch 0"):
        run_stage(
            Line(nan=True), CONFIG, folder=tmp_path / "c", fingerprint="f", seed=3, report=report
        )
