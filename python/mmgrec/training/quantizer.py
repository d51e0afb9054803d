"""Training of the residual quantiser on item vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from mmgrec.training.loop import LoopConfig
from mmgrec_engine.models.config import RQVAEConfig
from mmgrec_engine.models.rqvae import RQVAE
from mmgrec_engine.ops.backends import choose
from mmgrec_engine.ops.rq_assign import Assignment
from mmgrec_engine.rec_ids.assign import assign_catalogue
from mmgrec_engine.rec_ids.kmeans import residual_kmeans


class QuantizerTraining(BaseModel):
    """Loop of the RQ-VAE; RQ-KMeans has nothing to loop over."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    loop: LoopConfig
    batch_items: int = Field(default=1024, ge=1)
    warmup_epochs: int = Field(default=20, ge=0)
    """Epochs of plain autoencoding before k-means sets the codebooks."""
    revive_every: int = Field(default=5, ge=1)


class QuantizerStage:
    """The RQ-VAE as a stage of the training loop.

    ::

        first epochs: plain autoencoder, so that k-means sees encoded items worth clustering
        then: codebooks = residual k-means of the encoded items
        every epoch: batches of items; now and then, dead codewords move onto random residuals

    Parameters
    ----------
    vectors : Tensor
        ``[N, D]`` item vectors.
    shape, training : RQVAEConfig, QuantizerTraining
        What to train and how.
    seed : int
        Of the k-means.
    device : str
        Where the model trains.
    """

    name = "quantizer"

    def __init__(
        self,
        vectors: Tensor,
        shape: RQVAEConfig,
        training: QuantizerTraining,
        seed: int,
        device: str = "cpu",
    ) -> None:
        self.vectors, self.training, self.seed = vectors.to(device), training, seed
        self.model = RQVAE(shape, vectors.shape[1]).to(device)
        self.model.backend = choose("rq_assign", device=device)
        self._warming_up = True

    @torch.no_grad()
    def initialise_codebooks(self) -> None:
        """Set the codebooks by residual k-means on the encoded items."""
        encoded = self.model.encoder(self.vectors).cpu()
        config = self.model.config
        self.model.set_codebooks(
            residual_kmeans(
                encoded,
                config.semantic_levels,
                config.codebook_size,
                seed=self.seed,
                backend=choose("rq_assign"),
            )
        )

    def assign(self, advance: Callable[[int], object]) -> Assignment:
        """Quantise all items and return CPU tensors; `advance` counts the items."""
        self.model.eval()
        found = assign_catalogue(
            self.vectors,
            self.model.codebooks,
            encode=self.model.encoder,
            backend=self.model.backend,
            advance=advance,
        )
        top2 = None if found.top2 is None else found.top2.cpu()
        return Assignment(found.codes.cpu(), found.residual_norms.cpu(), top2)

    def batches(self, epoch: int, generator: torch.Generator) -> Iterator[Tensor]:
        """Yield batch losses; revive dead codewords every few epochs."""
        self._warming_up = epoch < self.training.warmup_epochs
        if epoch == self.training.warmup_epochs:
            self.initialise_codebooks()
        elif not self._warming_up and epoch % self.training.revive_every == 0:
            with torch.no_grad():
                codes = self.model.codes(self.vectors)
                self.model.revive_dead_codes(self.vectors, codes, generator)
        order = torch.randperm(len(self.vectors), generator=generator)
        for rows in torch.split(order, self.training.batch_items):
            x = self.vectors[rows.to(self.vectors.device)]
            yield self.model.autoencoding_loss(x) if self._warming_up else self.model(x)[0]

    @torch.no_grad()
    def validate(self) -> float | None:
        """Negative reconstruction error, so that the best epoch rebuilds the items best."""
        if self._warming_up:
            return None
        self.model.eval()
        rebuilt = self.model.reconstruct(self.model.codes(self.vectors))
        return -float((rebuilt - self.vectors).square().sum(1).mean())
