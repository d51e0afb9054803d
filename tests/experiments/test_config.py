"""The file that describes a table: what it may say, and what is said about mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmgrec.experiments.config import Variant, load_experiment
from mmgrec.experiments.methods import CLOSED, TRAINED
from mmgrec.training.presets import preset
from mmgrec_engine.errors import ConfigError

GOOD = """
data = "data/toy"
baselines = ["popular", "ease"]
seeds = [3, 1, 2]

[grids.ease]
l2 = [10.0, 20]

[[ours]]
name = "short"
preset = "reference"
rows = ["generative", "dense"]
[ours.overrides.recommender_training.loop]
epochs = 2
"""


def written(folder: Path, text: str, name: str = "table.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_toml_and_json_say_the_same(tmp_path: Path) -> None:
    config = load_experiment(written(tmp_path, GOOD))
    assert config.seeds == [3, 1, 2]
    assert not config.test
    text = config.model_dump_json()
    assert load_experiment(written(tmp_path, text, "table.json")) == config


def test_overrides_change_what_they_name_only(tmp_path: Path) -> None:
    (variant,) = load_experiment(written(tmp_path, GOOD)).ours
    settings, reference = variant.train_config(), preset("reference")
    assert settings.recommender_training.loop.epochs == 2
    expected = reference.model_dump()
    expected["recommender_training"]["loop"]["epochs"] = 2
    assert settings.model_dump() == expected
    assert Variant(name="plain").train_config() == preset("default")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("[3, 1, 2]", "[1, 2]"), "seeds.*at least 3"),
        (("[3, 1, 2]", "[1, 2, 2]"), "twice"),
        (("[3, 1, 2]", "[1, 2, -3]"), "seeds.2.*greater than or equal to 0"),
        (('"generative", "dense"', '"dense", "dense"'), "ours.0.rows.*twice"),
        (('"ease"]', '"svd"]'), "baselines.1.*'itemknn'"),
        (('data = "data/toy"', ""), "field data"),
        (('data = "data/toy"', 'data = "x"\nbeams = 3'), "field beams"),
        (('data = "data/toy"', 'data = "x"\nresamples = 100'), "10000"),
        (('name = "short"', 'name = "ease"'), "one name"),
        (('data = "data/toy"', 'data = "x"\nagainst = "short, reranked"'), "no row of the table"),
        (('name = "short"', 'name = "a/b"'), "ours.0.name"),
        (('"reference"', '"best"'), "default, reference"),
        (("epochs = 2", "epochs = 0"), "overrides of 'short'.*recommender_training.loop.epochs"),
        (("epochs = 2", "epoch = 2"), "overrides of 'short'.*recommender_training.loop.epoch:"),
        (("[grids.ease]", "[grids.vbpr]"), "not in 'baselines'"),
        (("data =", "data"), "cannot read"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    assert change[0] in GOOD
    with pytest.raises(ConfigError, match=message):
        load_experiment(written(tmp_path, GOOD.replace(*change)))


def test_a_table_needs_rows_and_a_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no rows"):
        load_experiment(written(tmp_path, json.dumps({"data": "x"}), "t.json"))
    with pytest.raises(ConfigError, match="cannot read"):
        load_experiment(tmp_path / "none.toml")


def test_the_ready_made_files_are_read() -> None:
    folder = Path(__file__).parents[2] / "docs" / "experiments"
    configs = {path.stem: load_experiment(path) for path in sorted(folder.glob("*.toml"))}
    tables = {"amazon-beauty", "ml-100k", "tiktok"}
    others = {"ablations", "amazon-beauty-refit", "ml-100k-cold", "tiktok-cold"}
    assert set(configs) == tables | others
    for name in tables:
        config = configs[name]
        assert config.data == Path("data") / name
        assert config.test
        assert {variant.preset for variant in config.ours} == {"default", "reference"}
        assert set(config.baselines) == set(CLOSED | TRAINED)
    refit = configs["amazon-beauty-refit"]
    assert refit.test
    assert refit.refit
    assert set(refit.baselines) == set(CLOSED)
    assert not configs["ablations"].test
    assert {variant.preset for variant in configs["ablations"].ours} == {"default"}
    assert all(configs[f"{name}-cold"].cold is not None for name in ("ml-100k", "tiktok"))
