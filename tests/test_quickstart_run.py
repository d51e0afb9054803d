"""The model that `make quickstart` trains: every backend recommends its users the same items."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmgrec.data.dataset import Dataset
from mmgrec.profiling.certificates import test_histories as histories_of
from mmgrec_engine.engine import Engine
from mmgrec_engine.requests import Recommendations

RUN = Path(__file__).parents[1] / "runs" / "ml-100k"
TOLERANCE = 1e-4
USERS = {"reference": 96, "triton": 2}
"""Triton runs in its interpreter where there is no GPU, which takes seconds a user."""

pytestmark = pytest.mark.skipif(
    not (RUN / "config.json").exists(), reason="`make quickstart` has not been run here"
)


@pytest.fixture(scope="module")
def native() -> Engine:
    return Engine.load(RUN, backend="native")


def histories(users: int) -> list[list[object]]:
    return histories_of(Dataset.load(RUN / "dataset"), users)


@pytest.mark.parametrize("backend", USERS)
@pytest.mark.parametrize("exact", [False, True])
def test_backends_agree(native: Engine, backend: str, exact: bool) -> None:
    asked = histories(USERS[backend])
    options = {"k": 20, "beam_width": 50, "exact": exact}
    found = native.recommend(asked, **options)  # type: ignore[arg-type]
    expected = Engine.load(RUN, backend=backend).recommend(asked, **options)  # type: ignore[arg-type]
    assert_same(found, expected)


def assert_same(found: Recommendations, expected: Recommendations) -> None:
    """Same scores, and same items where neighbours' scores differ by more than rounding."""
    np.testing.assert_allclose(found.scores, expected.scores, atol=TOLERANCE)
    gap = np.abs(np.diff(expected.scores, axis=1, prepend=1e9, append=-1e9)) > 2 * TOLERANCE
    clear = gap[:, :-1] & gap[:, 1:]
    clear[:, -1] = False  # the next one may tie with it
    assert clear.mean() > 0.8
    assert (found.items[clear] == expected.items[clear]).all()
    assert (found.certified == expected.certified).mean() > 0.95
