"""RQ-VAE: loss, gradients, moving averages, revival."""

from __future__ import annotations

import pytest
import torch

from mmgrec_engine.models.rqvae import RQVAE, RQVAEConfig


def make(update: str = "loss", **options: object) -> RQVAE:
    torch.manual_seed(0)
    config = RQVAEConfig(
        codebook_size=5, semantic_levels=2, latent=3, hidden=7, codebook_update=update, **options
    )
    model = RQVAE(config, 4)
    model.set_codebooks(torch.randn(2, 5, 3))
    return model


def test_loss_is_the_formula() -> None:
    model = make()
    x = torch.randn(6, 4)
    loss, codes = model(x)
    z = model.encoder(x)
    expected, r, z_q = torch.zeros(()), z, torch.zeros_like(z)
    for level in range(2):
        c = model.codebooks[level][codes[:, level]]
        expected = expected + ((r.detach() - c) ** 2).sum(1).mean()
        expected = expected + 0.25 * ((r - c.detach()) ** 2).sum(1).mean()
        r, z_q = r - c.detach(), z_q + c
    rebuilt = model.decoder(z + (z_q - z).detach())
    expected = expected + ((rebuilt - x) ** 2).sum(1).mean()
    torch.testing.assert_close(loss, expected)


def test_gradients_pass_straight_through_to_the_encoder_and_codebooks() -> None:
    model = make()
    model(torch.randn(6, 4))[0].backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
    assert float(model.encoder[0].weight.grad.abs().sum()) > 0
    assert float(model.codebooks.grad.abs().sum()) > 0


def test_codes_round_trip_through_reconstruct() -> None:
    model = make()
    codes = torch.tensor([[0, 4], [3, 1]])
    latent = model.codebooks[0][codes[:, 0]] + model.codebooks[1][codes[:, 1]]
    torch.testing.assert_close(model.reconstruct(codes), model.decoder(latent))


def test_moving_average_approaches_the_mean_of_its_rows() -> None:
    model = make("ema", ema_decay=0.5).train()
    x = torch.randn(50, 4)
    for _ in range(200):
        model(x)
    codes = model.codes(x)
    z = model.encoder(x).detach()
    for code in codes[:, 0].unique():
        mean = z[codes[:, 0] == code].mean(0)
        torch.testing.assert_close(model.codebooks[0, code], mean, atol=1e-3, rtol=1e-3)


def test_evaluation_leaves_the_codebooks_alone() -> None:
    model = make("ema").eval()
    before = model.codebooks.clone()
    model(torch.randn(6, 4))
    assert torch.equal(model.codebooks, before)


@pytest.mark.parametrize("update", ["ema", "loss"])
def test_dead_codewords_move_onto_residuals(update: str) -> None:
    model = make(update)
    with torch.no_grad():
        model.codebooks[0, 1:] = 1e3
    x = torch.randn(20, 4)
    codes = model.codes(x)
    assert codes[:, 0].unique().tolist() == [0]
    revived = model.revive_dead_codes(x, codes, torch.Generator().manual_seed(0))
    assert revived >= 4
    assert len(model.codes(x)[:, 0].unique()) > 1


def test_rqkmeans_has_nothing_to_learn() -> None:
    model = RQVAE(RQVAEConfig(method="rqkmeans", codebook_size=4, semantic_levels=2), 6)
    assert list(model.parameters()) == []
    assert model.codebooks.shape == (2, 4, 6)
