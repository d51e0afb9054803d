"""Named configurations."""

from __future__ import annotations

import json

import pytest

from mmgrec.training.presets import PRESETS, load_config, preset
from mmgrec_engine.errors import ConfigError


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_json(name: str) -> None:
    assert load_config(preset(name).model_dump_json()) == preset(name)


def test_reference_is_the_papers() -> None:
    config = preset("reference")
    assert config.graph.propagation == "graphsage"
    assert config.graph_training.loss == "bpr"
    assert config.quantizer.method == "rqvae"
    assert config.quantizer.semantic_levels == 3
    assert config.quantizer.commitment == 0.25
    assert not config.recommender.node_vectors
    assert config.recommender.normalise == "full"
    assert config.recommender.user_vector == "graph"


def test_errors_name_preset_and_field() -> None:
    with pytest.raises(ConfigError, match="default, reference"):
        preset("best")
    broken = json.loads(preset("default").model_dump_json())
    broken["recommender"]["heads"] = 0
    with pytest.raises(ConfigError, match=r"recommender\.heads"):
        load_config(json.dumps(broken))
    broken["recommender"] = {"head": 1}
    with pytest.raises(ConfigError, match=r"recommender\.head"):
        load_config(json.dumps(broken))


def test_training_of_a_quantiser_may_not_end_before_its_codebooks_are_made() -> None:
    changed = json.loads(preset("reference").model_dump_json())
    changed["quantizer_training"]["loop"]["epochs"] = 20
    with pytest.raises(ConfigError, match=r"epochs 20 ends .*warmup_epochs 20$"):
        load_config(json.dumps(changed))
    changed["quantizer"]["method"] = "rqkmeans"  # has no epochs
    load_config(json.dumps(changed))
