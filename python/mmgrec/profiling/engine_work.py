"""The arithmetic of a request: what no implementation of the model can do without.

Shapes: L history length, M beams, T levels, E model width, I = heads x head width, F feed-forward
width, D item-vector width, K_t columns.
"""

from __future__ import annotations

from collections.abc import Sequence

from mmgrec_engine.models.config import RecommenderConfig
from mmgrec_engine.ops.work import Work


def request_work(
    config: RecommenderConfig,
    item_width: int,
    level_sizes: Sequence[int],
    length: int,
    beams: int,
    users: int = 1,
) -> Work:
    """Count a batch of requests with histories of one length.

    ::

        encoder, per layer:  L rows through Q, K, V, relations, output and feed-forward net;
                             attention of L^2 pairs;  K and V of the memory for every decoder layer
        decoder, per level:  1 row at the first, M at each other: the layers, then the head's K_t
        keys and values of earlier tokens are kept;  trie, norms and softmax are not counted

    Bytes: the weights once, and the history's item vectors.
    """
    rows = length * users
    encoder = rows * _encoder_row(config, item_width) + users * _per_user(config, item_width)
    attention = users * config.encoder_layers * 2 * length**2 * config.head_width
    decoder = 0
    for level, columns in enumerate(level_sizes):
        here = 1 if level == 0 else beams
        row = config.decoder_layers * _decoder_row(config, length, level)
        row += 2 * config.width * columns + (
            2 * config.width * item_width if config.node_vectors else 0
        )
        decoder += users * here * row
    flops = encoder + attention * (2 * config.heads + 1) + decoder
    return Work(flops, 4 * (_weights(config, item_width, level_sizes) + rows * item_width))


def _inner(config: RecommenderConfig) -> int:
    return config.heads * config.head_width


def _encoder_row(config: RecommenderConfig, item_width: int) -> int:
    inner, width = _inner(config), config.width
    layer = width * (3 * inner + 3 * config.head_width) + inner * width
    layer += 2 * width * config.feed_forward
    memory = config.decoder_layers * width * 2 * inner
    adapter = 0 if item_width == width else item_width * width
    return 2 * (config.encoder_layers * layer + memory + adapter)


def _per_user(config: RecommenderConfig, item_width: int) -> int:
    gates = config.encoder_layers * 3 * (item_width**2 + item_width)
    return 2 * (gates + item_width**2)


def _decoder_row(config: RecommenderConfig, length: int, level: int) -> int:
    inner, width = _inner(config), config.width
    maps = 3 * width * inner + 3 * width * inner + 2 * width * config.feed_forward
    return 2 * (maps + 2 * inner * (level + 1) + 2 * inner * length)


def _weights(config: RecommenderConfig, item_width: int, level_sizes: Sequence[int]) -> int:
    inner, width = _inner(config), config.width
    encoder = config.encoder_layers * (
        width * (4 * inner + 3 * config.head_width + 2 * config.feed_forward)
        + 3 * item_width * (item_width + 1)
    )
    decoder = config.decoder_layers * width * (8 * inner + 2 * config.feed_forward)
    return encoder + decoder + width * sum(level_sizes)
