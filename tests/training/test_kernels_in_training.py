"""The trainer on the Triton kernels: the same losses and gradients as on the reference.

On a machine without a GPU the kernels run in Triton's interpreter; with one, `device` is the GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mmgrec.data.dataset import Dataset, Split
from mmgrec.training.loop import epoch_generator
from mmgrec.training.pipeline import Run, build_catalogue, tokenize_run
from mmgrec.training.quantizer import QuantizerStage
from mmgrec.training.recommender import RecommenderStage
from mmgrec_engine.settings import settings
from tests_shared import quiet_reporter, small_config

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture(autouse=True)
def _fresh_settings() -> Iterator[None]:
    settings.cache_clear()
    yield
    settings.cache_clear()


def first_step(run_folder: Path, dataset: Dataset, device: str) -> tuple[str, Tensor, list[Tensor]]:
    """Backend, loss and gradients of the first batch, without dropout."""
    run = Run(run_folder, dataset, small_config(), "test", 0)
    catalogue, _ = build_catalogue(tokenize_run(run, quiet_reporter(run.work / "logs")), 5.0)
    histories = [catalogue.to_ranks(dataset.histories(s)) for s in (Split.TRAIN, Split.VALID)]
    config = run.config
    epoch_generator(0, "initial recommender weights", 0)
    stage = RecommenderStage(
        catalogue, *histories, config.recommender, config.recommender_training, device
    )
    stage.model.eval()
    loss = next(stage.batches(0, torch.Generator().manual_seed(5)))
    loss.backward()
    gradients = [p.grad.cpu() for p in stage.model.parameters() if p.grad is not None]
    return stage.model.encoder.layers[0].backend, loss.detach().cpu(), gradients  # type: ignore[return-value]


def test_a_recommender_step(
    run_folder: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, wanted_loss, wanted = first_step(run_folder, dataset, "cpu")
    monkeypatch.setenv("MMGREC_BACKEND", "triton")
    settings.cache_clear()
    kernel, loss, gradients = first_step(run_folder, dataset, DEVICE)
    assert (plain, kernel) == ("reference", "triton")
    torch.testing.assert_close(loss, wanted_loss, atol=1e-5, rtol=1e-5)
    assert len(gradients) == len(wanted) > 20
    for found, expected in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-3)


def test_a_quantiser_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = torch.randn(60, 16, generator=torch.Generator().manual_seed(0))
    config = small_config()
    shape = config.quantizer.model_copy(update={"method": "rqvae", "latent": 8})

    def losses(device: str) -> tuple[str, list[float]]:
        torch.manual_seed(0)
        stage = QuantizerStage(vectors, shape, config.quantizer_training, 0, device)
        start = config.quantizer_training.warmup_epochs
        generator = torch.Generator().manual_seed(1)
        return stage.model.backend, [float(x.detach()) for x in stage.batches(start, generator)]

    native, wanted = losses("cpu")
    monkeypatch.setenv("MMGREC_BACKEND", "triton")
    settings.cache_clear()
    kernel, found = losses(DEVICE)
    assert (native, kernel) == ("native", "triton")
    assert found == pytest.approx(wanted, rel=1e-5)
