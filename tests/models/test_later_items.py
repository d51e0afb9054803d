"""Feature map and quantiser of later items, without torch, against the formulas and torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmgrec_engine.errors import RequestError
from mmgrec_engine.models.config import RQVAEConfig
from mmgrec_engine.models.feature_map import FeatureMap
from mmgrec_engine.models.item_quantizer import ItemQuantizer
from mmgrec_engine.models.rqvae import RQVAE

WIDTHS = {"text": 5, "audio": 3}


def feature_state(width: int = 8) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    state = {f"mean.{n}": rng.normal(size=w) for n, w in WIDTHS.items()}
    state |= {f"std.{n}": rng.uniform(1, 2, w) for n, w in WIDTHS.items()}
    state |= {"map": rng.normal(size=(8, width)), "center": rng.normal(size=width)}
    return {n: x.astype(np.float32) for n, x in (state | {"length": np.array([0.7])}).items()}


def model(method: str) -> RQVAE:
    torch.manual_seed(0)
    rqvae = RQVAE(RQVAEConfig(method=method, codebook_size=5, latent=4, hidden=6), 8)
    rqvae.set_codebooks(torch.randn(rqvae.codebooks.shape))
    return rqvae


def quantizer_of(rqvae: RQVAE, width: int = 8) -> ItemQuantizer:
    state = {name: tensor.numpy() for name, tensor in rqvae.state_dict().items()}
    return ItemQuantizer(rqvae.config, state, width)


def test_features_are_mapped_and_stretched() -> None:
    rng, state = np.random.default_rng(0), feature_state()
    features = {n: rng.normal(size=(6, w)).astype(np.float32) for n, w in WIDTHS.items()}
    features["audio"][2, 1] = 1e9
    has_text = np.array([True, True, False, True, False, True])
    features["text"][~has_text] = np.nan
    found = FeatureMap(WIDTHS, state).vectors(features, {"text": has_text}, 6)
    for row in range(6):
        parts = []
        for name in ("audio", "text"):
            z = (features[name][row] - state[f"mean.{name}"]) / state[f"std.{name}"]
            known = name == "audio" or has_text[row]
            parts.append(np.clip(z, -5, 5) if known else np.zeros(WIDTHS[name]))
        beside = np.concatenate(parts) @ state["map"]
        expected = state["center"] + beside * 0.7 / np.linalg.norm(beside)
        assert np.allclose(found[row], expected, atol=1e-5)
    without = FeatureMap(WIDTHS, state).vectors({}, None, 2)
    assert np.allclose(without, state["center"])


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(RequestError, match="trained without features"):
        FeatureMap({}, {}).vectors({}, None, 2)
    known = FeatureMap(WIDTHS, feature_state())
    with pytest.raises(RequestError, match="unknown modality"):
        known.vectors({"smell": np.zeros((2, 3))}, None, 2)
    with pytest.raises(RequestError, match="is no mask"):
        known.vectors({"text": np.zeros((2, 5))}, {"text": np.ones(3, bool)}, 2)
    with pytest.raises(RequestError, match="text"):
        known.vectors({"text": np.zeros((2, 4))}, None, 2)
    broken = feature_state() | {"map": np.zeros((7, 8), np.float32)}
    with pytest.raises(ValueError, match=r"map has the shape \(7, 8\), not \(8, 8\)"):
        FeatureMap(WIDTHS, broken)


@pytest.mark.parametrize("method", ["rqkmeans", "rqvae"])
def test_codes_are_those_of_the_trained_quantiser(method: str) -> None:
    rqvae = model(method)
    found = np.random.default_rng(0).normal(size=(6, 8)).astype(np.float32)
    codes, choices = quantizer_of(rqvae).codes(found)
    with torch.no_grad():
        vectors = torch.from_numpy(found)
        assert codes.tolist() == rqvae.codes(vectors).tolist()
        residual = rqvae.encoder(vectors)
        for level in range(codes.shape[1] - 1):
            residual = residual - rqvae.codebooks[level][codes[:, level]]
        distance = torch.cdist(residual, rqvae.codebooks[-1]).numpy()
    assert choices[:, 0].tolist() == codes[:, -1].tolist()
    assert (np.sort(choices, axis=1) == np.arange(5)).all()
    assert (np.diff(np.take_along_axis(distance, choices, 1), axis=1) >= -1e-6).all()


@pytest.mark.parametrize("length", [1e25, 3e38])
def test_vectors_beyond_all_measure_are_refused(length: float) -> None:
    vectors = np.ones((3, 8), np.float32)
    vectors[1] *= length
    with pytest.raises(RequestError, match=r"too long(.|\n)*row 1"):
        quantizer_of(model("rqkmeans")).codes(vectors)


def test_weights_that_do_not_fit_are_named() -> None:
    rqvae = model("rqvae")
    with pytest.raises(ValueError, match=r"encoder.0.weight has the shape \(6, 8\), not \(6, 9\)"):
        quantizer_of(rqvae, 9)
    rqvae = model("rqkmeans")
    with pytest.raises(ValueError, match="codebooks has the shape"):
        quantizer_of(rqvae, 9)


def test_who_else_is_quantised_changes_nothing() -> None:
    rqvae = model("rqkmeans")
    vectors = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    codes, choices = quantizer_of(rqvae).codes(vectors)
    for row in range(50):
        alone = quantizer_of(rqvae).codes(vectors[row : row + 1])
        assert alone[0].tolist() == [codes[row].tolist()]
        assert alone[1].tolist() == [choices[row].tolist()]
