"""Hugging Face `generate` as a generative recommender: T5 of the same size and allowed tokens.

It is another model with the same shape (width, heads, layers, tokens), so only its time compares.
What the library leaves to its user is done the fast way: an item of the history is one input
position, and the tokens allowed after a prefix stand in a dictionary that earlier calls filled.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmgrec.profiling.trie_csr import CsrTrie
from mmgrec_engine.errors import ConfigError
from mmgrec_engine.models.config import RecommenderConfig

INSTALLED = importlib.util.find_spec("transformers") is not None
START = 0
"""Token that stands for padding and begins every output; the tokens of the levels follow."""


class HuggingFaceRecommender:
    """T5 encoder and decoder over the tokens of a catalogue.

    Parameters
    ----------
    config : RecommenderConfig
        Shape to copy.
    level_sizes : sequence of int
        Columns per level.
    trie : CsrTrie
        Items that may be generated.
    """

    def __init__(
        self, config: RecommenderConfig, level_sizes: Sequence[int], trie: CsrTrie
    ) -> None:
        if not INSTALLED:
            raise ConfigError(
                "transformers is not installed", remedy="pip install 'mmgrec-engine[bench]'"
            )
        from transformers import T5Config, T5ForConditionalGeneration

        self._trie = trie
        self._first = np.cumsum([START + 1, *level_sizes])
        self._allowed: dict[tuple[int, ...], list[int]] = {}
        torch.manual_seed(0)
        shape = T5Config(
            vocab_size=int(self._first[-1]),
            d_model=config.width,
            d_kv=config.head_width,
            num_heads=config.heads,
            d_ff=config.feed_forward,
            num_layers=config.encoder_layers,
            num_decoder_layers=config.decoder_layers,
            dropout_rate=0.0,
            pad_token_id=START,
            eos_token_id=None,
        )
        shape.decoder_start_token_id = START
        self._model: Any = T5ForConditionalGeneration(shape)
        self._model.eval()  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def generate(self, histories: Tensor, k: int, width: int) -> Tensor:
        """Return the tokens ``[B * k, T]`` of the best items of item vectors ``[B, L, E]``."""
        levels = len(self._trie.tokens)
        found: Tensor = self._model.generate(
            inputs_embeds=histories,
            attention_mask=torch.ones(histories.shape[:2], dtype=torch.int64),
            num_beams=width,
            num_return_sequences=k,
            do_sample=False,
            min_new_tokens=levels,
            max_new_tokens=levels,
            prefix_allowed_tokens_fn=self._children,
        )
        return found[:, 1:] - torch.from_numpy(self._first[:-1])

    def _children(self, _: int, sequence: Tensor) -> list[int]:
        prefix = tuple(sequence.tolist()[1:])
        known = self._allowed.get(prefix)
        if known is None:
            first = int(self._first[len(prefix)])
            known = self._allowed[prefix] = [first + token for token in self._tokens_after(prefix)]
        return known

    def _tokens_after(self, prefix: tuple[int, ...]) -> list[int]:
        trie, begin, end = self._trie, 0, len(self._trie.tokens[0])
        for level, token in enumerate(prefix):
            own = trie.tokens[level][begin:end]
            node = begin + int(torch.searchsorted(own, token - int(self._first[level])))
            begin, end = trie.first[level + 1][node : node + 2].tolist()
        return trie.tokens[len(prefix)][begin:end].tolist()
