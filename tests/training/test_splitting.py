"""Context/target splits: nothing is shown that is asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from mmgrec.training.splitting import SplitLimits, batches_of, pad_rows, split_epoch

OFFSETS = np.array([0, 0, 1, 3, 10, 40])
ITEMS = np.arange(40) + 100
LIMITS = SplitLimits(target_share=(0.1, 0.5), max_targets=4, max_context=12)


def epoch(seed: int = 0, limits: SplitLimits = LIMITS) -> list[tuple[int, list[int], list[int]]]:
    g = torch.Generator().manual_seed(seed)
    rows = []
    for batch in batches_of(split_epoch(OFFSETS, ITEMS, limits, g), 2, g):
        for i, user in enumerate(batch.users.tolist()):
            context = batch.context[i, : batch.lengths[i]].tolist()
            rows.append((user, context, batch.targets[i][batch.valid[i]].tolist()))
    return rows


def test_targets_are_never_in_the_context() -> None:
    for seed in range(20):
        rows = epoch(seed)
        assert sorted(user for user, _, _ in rows) == [2, 3, 4]
        for user, context, targets in rows:
            own = set(ITEMS[OFFSETS[user] : OFFSETS[user + 1]].tolist())
            assert set(context) <= own
            assert set(targets) <= own
            assert not set(context) & set(targets)
            assert 1 <= len(targets) == len(set(targets)) <= LIMITS.max_targets
            assert 1 <= len(context) == len(set(context)) <= LIMITS.max_context


def test_small_users_show_everything_that_is_not_asked_for() -> None:
    for user, context, targets in epoch():
        if user in (2, 3):
            assert len(context) + len(targets) == OFFSETS[user + 1] - OFFSETS[user]


def test_epochs_differ_and_seeds_repeat() -> None:
    assert epoch(1) == epoch(1)
    assert epoch(1) != epoch(2)


def test_in_order_targets_follow_their_context() -> None:
    for seed in range(20):
        for user, context, targets in epoch(seed, replace(LIMITS, ordered=True)):
            own = ITEMS[OFFSETS[user] : OFFSETS[user + 1]].tolist()
            shown = context + targets
            begin = own.index(shown[0])
            assert own[begin : begin + len(shown)] == shown
            assert 1 <= len(targets) <= LIMITS.max_targets
            assert 1 <= len(context) <= LIMITS.max_context
            cut = own.index(targets[0])
            assert len(context) == min(cut, LIMITS.max_context)
            assert 0.1 * len(own) - 1 <= len(own) - cut <= 0.5 * len(own) + 1


def test_padding() -> None:
    values, valid = pad_rows(ITEMS, np.array([5, 0]), np.array([1, 3]))
    assert values[valid].tolist() == [105, 100, 101, 102]
    assert valid.tolist() == [[True, False, False], [True, True, True]]
    nothing, none_valid = pad_rows(ITEMS[:0], np.array([0]), np.array([0]))
    assert nothing.shape == (1, 1)
    assert not none_valid.any()
