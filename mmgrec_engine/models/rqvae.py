"""Residual-quantised autoencoder: from item vectors to code tuples."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmgrec_engine.models.config import RQVAEConfig
from mmgrec_engine.ops.rq_assign import rq_assign


class RQVAE(nn.Module):
    """MLP encoder, residual codebooks with straight-through gradients, MLP decoder.

    ::

        z = encode(x);  codes, z_q = residual quantisation of z on S codebooks
        loss = ||x - decode(z + sg(z_q - z))||^2
             + sum over levels ||sg(r) - c||^2 + beta ||r - sg(c)||^2     r: residual, c: codeword

    With ``codebook_update="ema"`` the middle term is replaced by a moving average of the residuals
    assigned to each codeword (van den Oord et al., 2017, appendix A.1).

    Parameters
    ----------
    config : RQVAEConfig
        Shape.
    width : int
        Width D of the item vectors.
    """

    codebooks: Tensor
    ema_count: Tensor
    ema_sum: Tensor

    def __init__(self, config: RQVAEConfig, width: int) -> None:
        super().__init__()
        self.config = config
        self.backend = "reference"
        latent = config.latent if config.method == "rqvae" else width
        self.encoder = _mlp(width, config.hidden, latent) if self._learns else nn.Identity()
        self.decoder = _mlp(latent, config.hidden, width) if self._learns else nn.Identity()
        shape = (config.semantic_levels, config.codebook_size, latent)
        if self._learns and config.codebook_update == "loss":
            self.codebooks = nn.Parameter(torch.zeros(shape))
        else:
            self.register_buffer("codebooks", torch.zeros(shape))
        self.register_buffer("ema_count", torch.ones(shape[:2]))
        self.register_buffer("ema_sum", torch.zeros(shape))

    @property
    def _learns(self) -> bool:
        return self.config.method == "rqvae"

    @torch.no_grad()
    def set_codebooks(self, codebooks: Tensor) -> None:
        """Install codebooks ``[S, K, latent]`` and restart the moving averages from them."""
        self.codebooks.copy_(codebooks)
        self.ema_count.fill_(1.0)
        self.ema_sum.copy_(codebooks)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss (scalar) and the codes ``[N, S]`` of rows ``[N, D]``."""
        z = self.encoder(x)
        with torch.no_grad():
            codes = rq_assign(z, self.codebooks, backend=self.backend).codes
        quantised, level_loss, residuals = self._quantise(z, codes)
        if self.training and self.config.codebook_update == "ema":
            self._move_codebooks(residuals, codes)
        rebuilt = self.decoder(z + (quantised - z).detach())
        return (rebuilt - x).square().sum(1).mean() + level_loss, codes

    def autoencoding_loss(self, x: Tensor) -> Tensor:
        """Return the reconstruction loss without quantisation (warm-up)."""
        rebuilt: Tensor = self.decoder(self.encoder(x))
        return (rebuilt - x).square().sum(1).mean()

    def codes(self, x: Tensor) -> Tensor:
        """Return the codes ``[N, S]`` int64 of item vectors ``[N, D]``."""
        return rq_assign(self.encoder(x), self.codebooks, backend=self.backend).codes

    def reconstruct(self, codes: Tensor) -> Tensor:
        """Return item vectors ``[N, D]`` from codes ``[N, S]``."""
        levels = torch.arange(codes.shape[1], device=codes.device)
        result: Tensor = self.decoder(self.codebooks[levels, codes].sum(1))
        return result

    def _quantise(self, z: Tensor, codes: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        residual, quantised = z, torch.zeros_like(z)
        loss = z.new_zeros(())
        residuals = []
        for level, codebook in enumerate(self.codebooks):
            codeword = codebook[codes[:, level]]
            residuals.append(residual.detach())
            loss = loss + self.config.commitment * _distance(residual, codeword.detach())
            if self.config.codebook_update == "loss":
                loss = loss + _distance(residual.detach(), codeword)
            residual = residual - codeword.detach()
            quantised = quantised + codeword
        return quantised, loss, residuals

    @torch.no_grad()
    def _move_codebooks(self, residuals: list[Tensor], codes: Tensor) -> None:
        decay = self.config.ema_decay
        for level, residual in enumerate(residuals):
            code = codes[:, level]
            count = torch.zeros_like(self.ema_count[level])
            count.index_add_(0, code, torch.ones_like(code, dtype=count.dtype))
            total = torch.zeros_like(self.ema_sum[level]).index_add_(0, code, residual)
            self.ema_count[level].mul_(decay).add_(count, alpha=1 - decay)
            self.ema_sum[level].mul_(decay).add_(total, alpha=1 - decay)
            self.codebooks[level] = self.ema_sum[level] / self.ema_count[level, :, None].clamp_min(
                1e-5
            )

    @torch.no_grad()
    def revive_dead_codes(self, x: Tensor, codes: Tensor, generator: torch.Generator) -> int:
        """Move codewords that no row uses onto residuals of random rows; return how many.

        Parameters
        ----------
        x : Tensor
            ``[N, D]`` item vectors.
        codes : Tensor
            ``[N, S]`` their codes now.
        generator : torch.Generator
            Source of the random rows.
        """
        residual = self.encoder(x)
        revived = 0
        for level in range(self.config.semantic_levels):
            used = torch.bincount(codes[:, level], minlength=self.config.codebook_size) > 0
            dead = torch.nonzero(~used).flatten()[: len(x)]
            rows = torch.randperm(len(x), generator=generator)[: len(dead)].to(x.device)
            chosen = self.codebooks[level][codes[:, level]]
            self.codebooks[level, dead] = residual[rows]
            self.ema_count[level, dead] = 1.0
            self.ema_sum[level, dead] = residual[rows]
            residual = residual - chosen
            revived += len(dead)
        return revived


def _mlp(width_in: int, hidden: int, width_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width_in, hidden), nn.ReLU(), nn.Linear(hidden, width_out))


def _distance(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).square().sum(1).mean()
