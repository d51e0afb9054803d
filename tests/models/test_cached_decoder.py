"""The decoder with kept keys and values against the decoder that reads whole prefixes."""

from __future__ import annotations

import pytest
import torch

from mmgrec_engine.models.cached_decoder import CachedDecoder
from mmgrec_engine.models.config import RecommenderConfig
from mmgrec_engine.models.recommender import Recommender

SIZES = [7, 5, 3, 4]


@pytest.mark.parametrize("backend", ["reference", "triton"])
@pytest.mark.parametrize("layers", [1, 3])
def test_every_position_equals_the_whole_prefix(backend: str, layers: int) -> None:
    torch.manual_seed(layers)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    config = RecommenderConfig(
        width=24, heads=3, head_width=8, feed_forward=16, decoder_layers=layers
    )
    model = Recommender(config, SIZES, torch.randn(30, 6)).eval().to(device)
    lengths = torch.tensor([5, 1], device=device)
    with torch.no_grad():
        memory = model.encode(torch.randint(30, (2, 5), device=device), lengths)
        cached = CachedDecoder(model.decoder, memory, 10, backend=backend)
        hidden = cached.step()
        prefixes = torch.zeros(2, 1, 0, dtype=torch.int64, device=device)
        torch.testing.assert_close(hidden, model.decoder(prefixes, memory)[:, :, -1])
        for level, beams in enumerate((4, 9, 9)):
            # Parents repeat, die out and change places, as in a search.
            parents = torch.randint(hidden.shape[1], (2, beams), device=device)
            tokens = torch.randint(SIZES[level], (2, beams), device=device)
            hidden = cached.step(parents.int(), tokens.int())
            at = parents[:, :, None].expand(-1, -1, level)
            prefixes = torch.cat([prefixes.gather(1, at), tokens[:, :, None]], 2)
            expected = model.decoder(prefixes, memory)[:, :, -1]
            torch.testing.assert_close(hidden, expected, atol=1e-5, rtol=1e-5)
