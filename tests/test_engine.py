"""`Engine`: requests and their errors, on a small trained run."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mmgrec.data.dataset import Dataset
from mmgrec_engine.engine import Engine
from mmgrec_engine.errors import ArtifactError, BackendError, RequestError
from mmgrec_engine.model_folder import load_model_folder

HISTORIES = [["i01", "i03", "i05"], ["i00"], ["i02", "i39", "i10", "i12"]]


@pytest.fixture(scope="module")
def engine(run_folder: Path) -> Engine:
    return Engine.load(run_folder)


def test_answers_have_the_asked_shape_and_leave_out_what_is_seen(engine: Engine) -> None:
    found = engine.recommend(HISTORIES, k=7)
    assert found.items.shape == found.scores.shape == (3, 7)
    assert found.certified.shape == (3,)
    assert (np.diff(found.scores, axis=1) <= 0).all()
    for history, items in zip(HISTORIES, found.items.tolist(), strict=True):
        assert not set(history) & set(items)
        assert len(set(items)) == 7


def test_seen_items_return_when_asked(engine: Engine, dataset: Dataset) -> None:
    everything = engine.recommend(HISTORIES, k=dataset.num_items, exclude_seen=False)
    for items in everything.items.tolist():
        assert sorted(items) == sorted(dataset.items["item"].to_list())
    # The scores of all items are a distribution.
    assert np.allclose(np.exp(everything.scores).sum(axis=1), 1.0, atol=1e-4)
    assert everything.certified.all()


def test_more_than_is_allowed_gives_none_at_the_end(engine: Engine) -> None:
    found = engine.recommend([["i00"]], k=5, allow=["i00", "i07", "i09"], deny=["i09"])
    assert found.items.tolist() == [["i07", None, None, None, None]]
    assert (found.scores[0, 1:] == -np.inf).all()


def test_exact_search_finds_what_the_widest_beam_finds(engine: Engine, dataset: Dataset) -> None:
    found = engine.recommend(HISTORIES, k=5, beam_width=1, exact=True)
    widest = engine.recommend(HISTORIES, k=5, beam_width=dataset.num_items)
    assert found.items.tolist() == widest.items.tolist()
    assert np.allclose(found.scores, widest.scores, atol=1e-4)
    assert found.certified.all()
    assert found.expanded is not None
    assert (found.expanded > 0).all()
    assert widest.expanded is None
    assert widest.limit_hit is None


def test_an_exact_search_that_gives_up_says_so(engine: Engine) -> None:
    found = engine.recommend(HISTORIES, k=5, beam_width=1, exact=True, exact_limit=1)
    assert found.limit_hit is not None
    assert (found.certified == ~found.limit_hit).all()
    assert all(None not in items for items in found.items.tolist())


def test_one_request_equals_a_batch(engine: Engine) -> None:
    batch = engine.recommend(HISTORIES, k=5)
    for row, history in enumerate(HISTORIES):
        alone = engine.recommend([history], k=5)
        assert alone.items.tolist() == [batch.items[row].tolist()]
        assert np.allclose(alone.scores[0], batch.scores[row], atol=1e-5)


def test_order_and_repeats_in_a_history_do_not_matter(engine: Engine) -> None:
    a = engine.recommend([["i01", "i03", "i05"]], k=5)
    b = engine.recommend([["i05", "i01", "i05", "i03"]], k=5)
    assert a.items.tolist() == b.items.tolist()


def test_long_histories_are_cut_but_stay_excluded(engine: Engine, dataset: Dataset) -> None:
    history = dataset.items["item"].to_list()[:36]
    assert len(history) > engine.config.max_history
    found = engine.recommend([history], k=4)
    assert sorted(found.items[0].tolist()) == dataset.items["item"].to_list()[36:]


def test_backends_agree(run_folder: Path, engine: Engine) -> None:
    reference = Engine.load(run_folder, backend="reference").recommend(HISTORIES, k=10)
    native = engine.recommend(HISTORIES, k=10)
    assert native.items.tolist() == reference.items.tolist()
    assert np.allclose(native.scores, reference.scores, atol=1e-4)


def test_threads_get_the_same_answers(engine: Engine) -> None:
    alone = engine.recommend(HISTORIES, k=5).items.tolist()
    with ThreadPoolExecutor(4) as pool:
        answers = pool.map(lambda _: engine.recommend(HISTORIES, k=5).items.tolist(), range(16))
    assert all(answer == alone for answer in answers)


def test_no_users(engine: Engine) -> None:
    assert engine.recommend([], k=3).items.shape == (0, 3)
    assert engine.recommend([], k=3, exact=True).items.shape == (0, 3)


def test_bad_requests_are_named(engine: Engine) -> None:
    with pytest.raises(RequestError, match="history 1 is empty"):
        engine.recommend([["i00"], []])
    with pytest.raises(RequestError, match=r"history 0: unknown item id\n.*'nope'"):
        engine.recommend([["nope"]])
    with pytest.raises(RequestError, match="deny: unknown item id"):
        engine.recommend([["i00"]], deny=["nope"])
    with pytest.raises(RequestError, match="k is out of range"):
        engine.recommend([["i00"]], k=0)
    with pytest.raises(RequestError, match="beam_width is out of range"):
        engine.recommend([["i00"]], beam_width=0)
    with pytest.raises(RequestError, match="exact_limit is out of range"):
        engine.recommend([["i00"]], exact=True, exact_limit=0)
    with pytest.raises(RequestError, match="not a list of lists"):
        engine.recommend(["i00"])
    with pytest.raises(RequestError, match="differ in number"):
        engine.recommend([["i00"]], users=["u1", "u2"])


def test_damaged_artifacts_are_refused(run_folder: Path, tmp_path: Path) -> None:
    for name in ("model.safetensors", "trie.bin", "items.parquet", "config.json"):
        copy = tmp_path / name
        shutil.copytree(run_folder, copy)
        content = (copy / name).read_bytes()
        (copy / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(ArtifactError, match=name):
            Engine.load(copy)
    with pytest.raises(ArtifactError, match="not a folder"):
        Engine.load(tmp_path / "none")


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_weights_that_do_not_fit_are_named(run_folder: Path, backend: str) -> None:
    folder = load_model_folder(run_folder)
    name = "decoder.layers.1.cross_kv.weight"
    lacking = {n: w for n, w in folder.weights.items() if n != name}
    for weights in (lacking, {**lacking, name: folder.weights[name][1:].copy()}):
        with pytest.raises(ArtifactError, match=name):
            Engine(replace(folder, weights=weights), backend=backend)


def test_unknown_backend(run_folder: Path) -> None:
    with pytest.raises(BackendError, match="unknown backend"):
        Engine.load(run_folder, backend="abacus")
