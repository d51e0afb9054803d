"""Feature encoder and quantiser of later items against the two models that they come from."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mmgrec_engine.errors import RequestError
from mmgrec_engine.models.config import GraphEncoderConfig, RQVAEConfig, TokenizerConfig
from mmgrec_engine.models.feature_encoder import FeatureEncoder
from mmgrec_engine.models.graph_encoder import GraphEncoder
from mmgrec_engine.models.graph_ensemble import GraphEnsemble
from mmgrec_engine.models.item_quantizer import ItemQuantizer
from mmgrec_engine.models.rqvae import RQVAE

WIDTHS = {"audio": 3, "text": 5}


def models(propagation: str, method: str) -> tuple[GraphEncoder, RQVAE]:
    torch.manual_seed(0)
    graph = GraphEncoder(GraphEncoderConfig(width=8, propagation=propagation), 7, 9, WIDTHS)
    rqvae = RQVAE(RQVAEConfig(method=method, codebook_size=5, latent=4, hidden=6), 8)
    rqvae.set_codebooks(torch.randn(rqvae.codebooks.shape))
    return graph, rqvae


def quantizer_of(rqvae: RQVAE, width: int = 8) -> ItemQuantizer:
    state = {name: tensor.numpy() for name, tensor in rqvae.state_dict().items()}
    return ItemQuantizer(rqvae.config, state, width)


@pytest.mark.parametrize(
    ("propagation", "method", "unit"),
    [("lightgcn", "rqkmeans", True), ("graphsage", "rqvae", False)],
)
def test_vectors_and_codes_are_those_of_the_trained_models(
    propagation: str, method: str, unit: bool
) -> None:
    graph, rqvae = models(propagation, method)
    config = TokenizerConfig(
        graph=graph.config, quantizer=rqvae.config, modalities=WIDTHS, unit_vectors=unit
    )
    rng = np.random.default_rng(0)
    features = {n: rng.normal(size=(6, w)).astype(np.float32) for n, w in WIDTHS.items()}
    has_text = np.array([True, True, False, True, False, True])
    features["text"][~has_text] = np.nan
    found = FeatureEncoder(config, GraphEnsemble([graph]).state_dict()).vectors(
        features, {"text": has_text}, 6
    )
    tensors = {n: torch.from_numpy(np.nan_to_num(v)) for n, v in features.items()}
    present = {"audio": torch.ones(6, dtype=torch.bool), "text": torch.from_numpy(has_text)}
    with torch.no_grad():
        expected = graph.encode_new(tensors, present, 6)
        if unit:
            expected = F.normalize(expected, dim=1)
        assert np.allclose(found, expected, atol=1e-6)
        codes, choices = quantizer_of(rqvae).codes(found)
        vectors = torch.from_numpy(found)
        assert codes.tolist() == rqvae.codes(vectors).tolist()
        residual = rqvae.encoder(vectors)
        for level in range(codes.shape[1] - 1):
            residual = residual - rqvae.codebooks[level][codes[:, level]]
        distance = torch.cdist(residual, rqvae.codebooks[-1]).numpy()
    assert choices[:, 0].tolist() == codes[:, -1].tolist()
    assert (np.sort(choices, axis=1) == np.arange(5)).all()
    assert (np.diff(np.take_along_axis(distance, choices, 1), axis=1) >= -1e-6).all()


def test_a_model_without_features_says_so() -> None:
    graph = GraphEncoder(GraphEncoderConfig(width=8), 7, 9, {})
    config = TokenizerConfig(
        graph=graph.config, quantizer=RQVAEConfig(), modalities={}, unit_vectors=True
    )
    with pytest.raises(RequestError, match="trained without features"):
        FeatureEncoder(config, GraphEnsemble([graph]).state_dict()).vectors({}, None, 2)


def test_weights_that_do_not_fit_are_named() -> None:
    _, rqvae = models("lightgcn", "rqvae")
    with pytest.raises(ValueError, match=r"encoder.0.weight has the shape \(6, 8\), not \(6, 9\)"):
        quantizer_of(rqvae, 9)
    _, rqvae = models("lightgcn", "rqkmeans")
    with pytest.raises(ValueError, match="codebooks has the shape"):
        quantizer_of(rqvae, 9)


def test_who_else_is_quantised_changes_nothing() -> None:
    _, rqvae = models("lightgcn", "rqkmeans")
    vectors = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    codes, choices = quantizer_of(rqvae).codes(vectors)
    for row in range(50):
        alone = quantizer_of(rqvae).codes(vectors[row : row + 1])
        assert alone[0].tolist() == [codes[row].tolist()]
        assert alone[1].tolist() == [choices[row].tolist()]
