"""Training on a device: every tensor of a step is where the model is.

There is no GPU on most machines that run these tests. Fake tensors carry shapes and devices without
memory, and an operation that mixes devices is an error, as it would be on a GPU. The device is
"lazy", the one besides the CPU that torch lets fake tensors be on in every build.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from mmgrec.cli.runs import prepare_run
from mmgrec.training.splitting import Batch
from mmgrec_engine.errors import ConfigError
from mmgrec_engine.models.catalog_softmax import CatalogSoftmax
from mmgrec_engine.models.config import RecommenderConfig
from mmgrec_engine.models.fusion import Fusion
from mmgrec_engine.models.recommender import Recommender
from mmgrec_engine.models.rqvae import RQVAE, RQVAEConfig

DEVICE = torch.device("lazy")


def elsewhere(tensor: Tensor) -> Tensor:
    """Return a fake tensor of this shape on another device, of the `FakeTensorMode` under way."""
    fake = torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")
    assert isinstance(fake, FakeTensor)
    return FakeTensor(fake.fake_mode, fake, DEVICE)


def move_elsewhere(module: nn.Module) -> None:
    """Replace parameters and buffers by fake ones on another device."""
    for part in module.modules():
        for name, parameter in list(part._parameters.items()):
            if parameter is not None:
                part._parameters[name] = nn.Parameter(elsewhere(parameter))
        for name, buffer in list(part._buffers.items()):
            if buffer is not None:
                part._buffers[name] = elsewhere(buffer)


@pytest.mark.parametrize("normalise", ["catalogue", "full"])
def test_a_training_step_of_the_recommender(normalise: Literal["catalogue", "full"]) -> None:
    rng = np.random.default_rng(0)
    codes = np.unique(rng.integers(0, 4, (30, 3), dtype=np.int32), axis=0)
    vectors = rng.normal(size=(len(codes), 8)).astype(np.float32)
    config = RecommenderConfig(
        width=8, heads=2, head_width=4, feed_forward=16, normalise=normalise, user_vector="graph"
    )
    users = torch.randn(5, 8)
    model = Recommender(config, [4, 4, 4], torch.from_numpy(vectors), users)
    softmax = CatalogSoftmax(codes, vectors, normalise)
    batch = Batch(
        torch.tensor([0, 2]),
        torch.tensor([[1, 2, 3], [4, 0, 0]]),
        torch.tensor([3, 1]),
        torch.tensor([[5, 6], [7, 7]]),
        torch.tensor([[True, True], [True, True]]),
    )
    # Level 0 has every child in every row; deeper levels size their padding by data.
    with FakeTensorMode():
        move_elsewhere(model)
        batch = Batch(**{name: elsewhere(value) for name, value in vars(batch).items()})
        memory = model.encode(batch.context, batch.lengths, batch.users)
        hidden = model.decoder(elsewhere(softmax.codes)[batch.targets][:, :, :-1], memory)
        assert hidden.device == DEVICE
        level = softmax.levels[0]
        softmax.levels[0] = type(level)(**{k: elsewhere(v) for k, v in vars(level).items()})
        flat = hidden.flatten(0, 1)[:, 0]
        query = model.head.node_query(0, flat, memory.user.repeat_interleave(2, 0))
        loss = softmax.log_prob(0, batch.targets.flatten(), model.head.logits(0, flat), query)
        assert loss.device == DEVICE
        loss.mean().backward()


def test_a_training_step_of_the_quantiser() -> None:
    model = RQVAE(RQVAEConfig(codebook_size=4, latent=3, hidden=5), 6)
    with FakeTensorMode():
        move_elsewhere(model)
        x = elsewhere(torch.randn(9, 6))
        z = model.encoder(x)
        codes = torch.zeros(9, 2, dtype=torch.long, device=DEVICE)
        quantised, loss, residuals = model._quantise(z, codes)
        model._move_codebooks(residuals, codes)
        assert model.reconstruct(codes).device == quantised.device == loss.device == x.device


def test_fusion() -> None:
    fusion = Fusion({"text": 3}, 4)
    with FakeTensorMode():
        move_elsewhere(fusion)
        features, present = (
            {"text": elsewhere(torch.randn(5, 3))},
            {"text": elsewhere(torch.ones(5).bool())},
        )
        assert fusion(features, present).device == DEVICE


def test_a_device_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name, message in (("tpu", "unknown device"), ("cuda", "no GPU here")):
        with pytest.raises(ConfigError, match=message):
            prepare_run(tmp_path, tmp_path / "run", "default", None, 0, False, name)
