"""Environment variables."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmgrec_engine.errors import ConfigError
from mmgrec_engine.settings import num_threads, settings


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    settings.cache_clear()
    yield
    settings.cache_clear()


def test_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BACKEND", "THREADS", "CACHE"):
        monkeypatch.delenv(f"MMGREC_{name}", raising=False)
    assert settings().backend is None
    assert settings().threads is None
    assert num_threads() == len(os.sched_getaffinity(0))


def test_values_are_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMGREC_THREADS", "3")
    monkeypatch.setenv("MMGREC_CACHE", "/somewhere")
    assert settings().threads == num_threads() == 3
    assert settings().cache == Path("/somewhere")


@pytest.mark.parametrize("value", ["zero", "0", "-1"])
def test_bad_value_names_the_variable(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("MMGREC_THREADS", value)
    with pytest.raises(ConfigError, match="MMGREC_THREADS"):
        settings()
