"""Text features."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from mmgrec.data.features.text import PACKAGE, text_features, text_method
from mmgrec_engine.errors import ConfigError

TEXTS = ["a red car", "a blue car", "", None, "ships on the sea", "the sea"]


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.mark.parametrize("method", ["tfidf", "minilm"])
def test_like_texts_are_close_and_empty_ones_missing(method: str) -> None:
    if method == "minilm" and importlib.util.find_spec(PACKAGE) is None:
        pytest.skip("the extra 'text' is not installed")
    made = text_features(TEXTS, method)
    assert made.present.tolist() == [True, True, False, False, True, True]
    assert (made.values[2:4] == 0).all()
    assert cosine(made.values[0], made.values[1]) > cosine(made.values[0], made.values[4])
    assert cosine(made.values[4], made.values[5]) > cosine(made.values[1], made.values[5])


def test_tfidf_is_deterministic() -> None:
    first, second = (text_features(TEXTS, "tfidf").values for _ in range(2))
    assert np.array_equal(first, second)


def test_errors() -> None:
    with pytest.raises(ConfigError, match="auto, minilm, tfidf"):
        text_method("word2vec")
    with pytest.raises(ConfigError, match="no item has any text"):
        text_features(["", None], "tfidf")
    if importlib.util.find_spec(PACKAGE) is None:
        assert text_method("auto") == "tfidf"
        with pytest.raises(ConfigError, match=r"mmgrec-engine\[text\]"):
            text_method("minilm")
