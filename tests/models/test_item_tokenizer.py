"""The tokeniser of later items against the two models that it is made of."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mmgrec_engine.errors import RequestError
from mmgrec_engine.models.graph_encoder import GraphEncoder, GraphEncoderConfig
from mmgrec_engine.models.item_tokenizer import ItemTokenizer, TokenizerConfig
from mmgrec_engine.models.rqvae import RQVAE, RQVAEConfig

WIDTHS = {"audio": 3, "text": 5}


def models(
    propagation: str, method: str, *, unit: bool
) -> tuple[GraphEncoder, RQVAE, ItemTokenizer]:
    torch.manual_seed(0)
    graph = GraphEncoder(GraphEncoderConfig(width=8, propagation=propagation), 7, 9, WIDTHS)
    rqvae = RQVAE(RQVAEConfig(method=method, codebook_size=5, latent=4, hidden=6), 8)
    rqvae.set_codebooks(torch.randn(rqvae.codebooks.shape))
    config = TokenizerConfig(
        graph=graph.config, quantizer=rqvae.config, modalities=WIDTHS, unit_vectors=unit
    )
    return graph, rqvae, ItemTokenizer(config, graph.state_dict(), rqvae.state_dict())


@pytest.mark.parametrize(
    ("propagation", "method", "unit"),
    [("lightgcn", "rqkmeans", True), ("graphsage", "rqvae", False)],
)
def test_vectors_and_codes_are_those_of_the_trained_models(
    propagation: str, method: str, unit: bool
) -> None:
    graph, rqvae, tokenizer = models(propagation, method, unit=unit)
    rng = np.random.default_rng(0)
    features = {n: rng.normal(size=(6, w)).astype(np.float32) for n, w in WIDTHS.items()}
    has_text = np.array([True, True, False, True, False, True])
    features["text"][~has_text] = np.nan
    found = tokenizer.vectors(features, {"text": has_text}, 6)
    tensors = {n: torch.from_numpy(np.nan_to_num(v)) for n, v in features.items()}
    present = {"audio": torch.ones(6, dtype=torch.bool), "text": torch.from_numpy(has_text)}
    with torch.no_grad():
        expected = graph.encode_new(tensors, present, 6)
        if unit:
            expected = F.normalize(expected, dim=1)
        assert torch.allclose(found, expected, atol=1e-6)
        codes, choices = tokenizer.codes(found)
        assert codes.tolist() == rqvae.codes(found).tolist()
        residual = rqvae.encoder(found)
        for level in range(codes.shape[1] - 1):
            residual = residual - rqvae.codebooks[level][codes[:, level]]
        distance = torch.cdist(residual, rqvae.codebooks[-1]).numpy()
    assert choices[:, 0].tolist() == codes[:, -1].tolist()
    assert (np.sort(choices, axis=1) == np.arange(5)).all()
    assert (np.diff(np.take_along_axis(distance, choices, 1), axis=1) >= -1e-6).all()


def test_a_model_without_features_says_so() -> None:
    graph = GraphEncoder(GraphEncoderConfig(width=8), 7, 9, {})
    rqvae = RQVAE(RQVAEConfig(method="rqkmeans", codebook_size=5), 8)
    config = TokenizerConfig(
        graph=graph.config, quantizer=rqvae.config, modalities={}, unit_vectors=True
    )
    tokenizer = ItemTokenizer(config, graph.state_dict(), rqvae.state_dict())
    with pytest.raises(RequestError, match="trained without features"):
        tokenizer.vectors({}, None, 2)
