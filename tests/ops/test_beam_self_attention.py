"""`beam_self_attention` against causal attention over whole prefixes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mmgrec_engine.errors import BackendError, ConfigError
from mmgrec_engine.ops.beam_self_attention import beam_self_attention
from tests_shared import walk_beams


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (3, 5, 2, 4), (2, 17, 3, 8)], ids=str)
def test_every_position_equals_attention_over_the_whole_prefix(
    shape: tuple[int, int, int, int],
) -> None:
    users, width, heads, head_width = shape
    cache = torch.full((4, users, width, 2, heads, head_width), float("nan"), dtype=torch.float64)
    prefixes: Tensor | None = None
    for position, qkv, parents in walk_beams(4, *shape, dtype=torch.float64):
        newest = qkv[:, :, None]
        if prefixes is None:
            prefixes = newest
        else:
            at = parents[position].long()[:, : qkv.shape[1], None, None, None, None]
            gathered = prefixes.gather(1, at.expand(-1, -1, *prefixes.shape[2:]))
            prefixes = torch.cat([gathered, newest], 2)
        found = beam_self_attention(qkv, cache, parents, position)
        q, k, v = prefixes.permute(3, 0, 1, 4, 2, 5)
        expected = F.scaled_dot_product_attention(q, k, v, is_causal=True)[:, :, :, -1]
        torch.testing.assert_close(found, expected.flatten(2), atol=1e-12, rtol=1e-9)
        assert torch.equal(cache[position, :, : qkv.shape[1]], qkv[:, :, 1:])


def test_what_does_not_fit_is_named() -> None:
    qkv, cache = torch.zeros(2, 3, 3, 1, 4), torch.zeros(4, 2, 3, 2, 1, 4)
    parents = torch.zeros(4, 2, 3, dtype=torch.int32)
    with pytest.raises(ConfigError, match="do not fit"):
        beam_self_attention(qkv, cache, parents, 4)
    with pytest.raises(ConfigError, match="do not fit"):
        beam_self_attention(qkv, cache[:, :, :2], parents[:, :, :2], 0)
    with pytest.raises(ConfigError, match="contiguous"):
        beam_self_attention(
            qkv.transpose(0, 1), cache[:, :1].expand(-1, 3, -1, -1, -1, -1), parents, 0
        )
    with pytest.raises(BackendError, match="triton, reference"):
        beam_self_attention(qkv, cache, parents, 0, backend="cuda")
