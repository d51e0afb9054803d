"""The recommender: probabilities, padding, beams, user vectors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from mmgrec_engine.catalog.trie import Trie
from mmgrec_engine.models.catalog_softmax import CatalogSoftmax
from mmgrec_engine.models.config import RecommenderConfig
from mmgrec_engine.models.recommender import Recommender

SIZES = [4, 3, 2]


def build(**options: object) -> tuple[Recommender, CatalogSoftmax, np.ndarray]:
    rng = np.random.default_rng(1)
    codes = np.unique(rng.integers(0, SIZES, (14, 3), dtype=np.int32), axis=0)
    vectors = rng.normal(size=(len(codes), 6)).astype(np.float32)
    config = RecommenderConfig(
        width=8, heads=2, head_width=4, feed_forward=16, dropout=0.0, **options
    )
    torch.manual_seed(0)
    users = torch.randn(3, 6) if config.user_vector == "graph" else None
    model = Recommender(config, SIZES, torch.from_numpy(vectors), users).eval()
    trie, _ = Trie.build(codes, SIZES)
    assert np.array_equal(trie.codes(), codes)
    return model, CatalogSoftmax(codes, vectors, config.normalise), codes


def all_items(
    model: Recommender, softmax: CatalogSoftmax, items: Tensor, lengths: Tensor
) -> Tensor:
    n = len(softmax.codes)
    targets = torch.arange(n).expand(len(items), n)
    memory = model.encode(items, lengths)
    flat = model.log_prob(memory, targets, torch.ones_like(targets, dtype=torch.bool), softmax)
    return flat.view(len(items), n)


@pytest.mark.parametrize("node_vectors", [True, False])
def test_catalogue_probabilities_of_all_items_sum_to_one(node_vectors: bool) -> None:
    model, softmax, _ = build(node_vectors=node_vectors)
    items, lengths = torch.tensor([[0, 1, 2], [3, 0, 0]]), torch.tensor([3, 1])
    total = all_items(model, softmax, items, lengths).exp().sum(1)
    torch.testing.assert_close(total, torch.ones(2))


@pytest.mark.parametrize("node_vectors", [True, False])
def test_full_probabilities_are_the_softmax_over_every_level(node_vectors: bool) -> None:
    model, softmax, codes = build(node_vectors=node_vectors, normalise="full")
    items, lengths = torch.tensor([[0, 1, 2]]), torch.tensor([3])
    ours = all_items(model, softmax, items, lengths)[0]
    assert float(ours.detach().exp().sum()) < 1.0
    memory = model.encode(items, lengths)
    for rank, tuple_ in enumerate(codes.tolist()):
        total = torch.zeros(())
        for level in range(3):
            prefix = torch.tensor(tuple_[:level]).view(1, 1, level)
            hidden = model.decoder(prefix, memory)[0, 0, -1]
            logits = model.head.logits(level, hidden).clone()
            query = model.head.node_query(level, hidden, memory.user[0])
            for token in range(SIZES[level]):
                below = (codes[:, : level + 1] == [*tuple_[:level], token]).all(axis=1)
                if below.any() and query is not None:
                    logits[token] += query @ model.item_vectors[torch.from_numpy(below)].mean(0)
                    logits[token] += float(np.log(below.sum()))
            total = total + logits.log_softmax(0)[tuple_[level]]
        torch.testing.assert_close(ours[rank], total, atol=1e-5, rtol=1e-4)


def test_history_is_a_set_and_padding_is_ignored() -> None:
    model, softmax, _ = build()
    first = all_items(model, softmax, torch.tensor([[4, 1, 2, 9]]), torch.tensor([3]))
    second = all_items(model, softmax, torch.tensor([[2, 4, 1]]), torch.tensor([3]))
    torch.testing.assert_close(first, second, atol=1e-5, rtol=1e-5)


def test_the_order_of_a_history_counts_where_older_items_weigh_less() -> None:
    model, _, _ = build()
    model.history_decay.fill_(0.5)
    items, lengths = torch.tensor([[4, 1, 2, 9], [7, 7, 7, 7]]), torch.tensor([3, 1])
    vectors = model.item_vectors
    means = torch.stack([(vectors[4] + 2 * vectors[1] + 4 * vectors[2]) / 7, vectors[7]])
    found = model.encode(items, lengths).user
    torch.testing.assert_close(found, model.user_map(means), atol=1e-6, rtol=1e-5)
    nobody = model.encode(items[:1], torch.tensor([0])).user  # as padded batches have them
    torch.testing.assert_close(nobody, model.user_map(torch.zeros(1, 6)))


def test_weights_without_a_decay_are_read_as_they_were_meant() -> None:
    model, _, _ = build()
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    del state["history_decay"]
    again = Recommender.of_state(model.config, SIZES, state)
    assert float(again.history_decay) == 1.0


def test_batch_rows_do_not_influence_each_other() -> None:
    model, softmax, _ = build()
    items, lengths = torch.tensor([[4, 1, 2], [3, 5, 5]]), torch.tensor([3, 1])
    together = all_items(model, softmax, items, lengths)
    alone = all_items(model, softmax, items[1:], lengths[1:])
    torch.testing.assert_close(together[1:], alone, atol=1e-5, rtol=1e-5)


def test_padded_targets_are_left_out() -> None:
    model, softmax, _ = build()
    memory = model.encode(torch.tensor([[0], [1]]), torch.tensor([1, 1]))
    targets, valid = torch.tensor([[2, 3], [4, 0]]), torch.tensor([[True, True], [True, False]])
    flat = model.log_prob(memory, targets, valid, softmax)
    full = all_items(model, softmax, torch.tensor([[0], [1]]), torch.tensor([1, 1]))
    torch.testing.assert_close(flat, torch.stack([full[0, 2], full[0, 3], full[1, 4]]))


@pytest.mark.parametrize("normalise", ["catalogue", "full"])
def test_gradients_equal_those_of_a_dense_softmax(normalise: str) -> None:
    # Padded siblings are repeated rows; their gradient must not be counted twice.
    _, softmax, codes = build(normalise=normalise, node_vectors=False)
    level, ranks = 1, torch.tensor([0, len(codes) - 1])
    logits = torch.randn(2, SIZES[level], dtype=torch.float64, requires_grad=True)
    got = torch.autograd.grad(softmax.log_prob(level, ranks, logits, None).sum(), logits)[0]
    exists = torch.zeros(2, SIZES[level], dtype=torch.bool)
    for row, rank in enumerate(ranks.tolist()):
        exists[row, codes[codes[:, 0] == codes[rank, 0], level]] = True
    masked = logits if normalise == "full" else logits.masked_fill(~exists, -torch.inf)
    own = torch.from_numpy(codes[ranks.numpy(), level].astype(np.int64))
    wanted = torch.autograd.grad(masked.log_softmax(1)[torch.arange(2), own].sum(), logits)[0]
    torch.testing.assert_close(got, wanted)


def test_known_users_use_their_graph_vector_and_others_the_map() -> None:
    model, _, _ = build(user_vector="graph")
    items, lengths = torch.tensor([[0, 1], [0, 1]]), torch.tensor([2, 2])
    memory = model.encode(items, lengths, torch.tensor([2, -1]))
    torch.testing.assert_close(memory.user[0], model.user_vectors[2])
    mean = model.item_vectors[:2].mean(0)
    torch.testing.assert_close(memory.user[1], model.user_map(mean))
    torch.testing.assert_close(model.encode(items, lengths).user[0], model.user_map(mean))


def test_decoder_is_causal() -> None:
    model, _, _ = build()
    memory = model.encode(torch.tensor([[0, 1]]), torch.tensor([2]))
    long = model.decoder(torch.tensor([[[1, 2]]]), memory)
    short = model.decoder(torch.tensor([[[1]]]), memory)
    torch.testing.assert_close(long[:, :, :2], short, atol=1e-6, rtol=1e-5)
