"""How an untrained recommender ranks: by the recommender itself."""

from __future__ import annotations

import numpy as np
import torch

from mmgrec.training.start_ranking import start_log_probs
from mmgrec_engine.models.catalog_softmax import CatalogSoftmax
from mmgrec_engine.models.config import RecommenderConfig
from mmgrec_engine.models.recommender import Recommender

ITEMS, WIDTH, USERS, SCALE = 50, 6, 4, 3.0


def catalogue() -> np.ndarray:
    """Return Rec-IDs ``[N, 3]`` in leaf order; the last token counts equal ones."""
    rng = np.random.default_rng(0)
    semantic = rng.integers(0, 4, (ITEMS, 2))
    semantic = semantic[np.lexsort(semantic.T[::-1])]
    last = [int((semantic[:i] == row).all(1).sum()) for i, row in enumerate(semantic)]
    return np.column_stack([semantic, last]).astype(np.int32)


def test_it_is_what_the_recommender_with_zero_heads_gives() -> None:
    torch.manual_seed(0)
    codes, items = catalogue(), torch.randn(ITEMS, WIDTH)
    sizes = [4, 4, int(codes[:, 2].max()) + 1]
    config = RecommenderConfig(width=8, heads=2, head_width=4, feed_forward=8)
    model = Recommender(config, sizes, items).eval().requires_grad_(False)
    for columns in model.head.columns:
        columns.weight.zero_()
        columns.bias.zero_()
    for query in model.head.query_hidden:
        query.weight.zero_()
    for query in model.head.query_user:
        query.weight.copy_(SCALE * torch.eye(WIDTH))
    shown = torch.arange(USERS)[:, None]  # one item each: h_u is its vector
    memory = model.encode(shown, torch.ones(USERS, dtype=torch.long))
    everything = torch.arange(ITEMS).expand(USERS, -1)
    valid = torch.ones(USERS, ITEMS, dtype=torch.bool)
    softmax = CatalogSoftmax(codes, items.numpy(), "catalogue")
    expected = model.log_prob(memory, everything, valid, softmax).reshape(USERS, ITEMS)
    found = start_log_probs(SCALE * items[:USERS], items, codes[:, :2])
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.exp().sum(1), torch.ones(USERS))


def test_where_every_item_has_its_own_first_token_it_is_the_softmax_over_items() -> None:
    torch.manual_seed(1)
    items, queries = torch.randn(ITEMS, WIDTH), 5 * torch.randn(USERS, WIDTH)
    codes = np.random.default_rng(0).permutation(ITEMS)[:, None]
    expected = (queries @ items.T).log_softmax(1)
    torch.testing.assert_close(
        start_log_probs(queries, items, codes), expected, atol=1e-4, rtol=1e-4
    )


def test_one_item_is_certain() -> None:
    found = start_log_probs(torch.randn(3, WIDTH), torch.randn(1, WIDTH), np.zeros((1, 2), int))
    torch.testing.assert_close(found, torch.zeros(3, 1), atol=1e-5, rtol=0)
