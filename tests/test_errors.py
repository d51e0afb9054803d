"""Messages of our errors."""

from __future__ import annotations

import pytest

from mmgrec_engine.errors import ArtifactError, DataError, MMGRecError


def test_message_says_what_value_allowed_and_remedy() -> None:
    error = DataError("x is bad", value=3, allowed="1 or 2", remedy="choose one")
    assert str(error) == "x is bad\n  got:     3\n  allowed: 1 or 2\n  to do:   choose one"


def test_message_leaves_out_what_is_not_given() -> None:
    assert str(ArtifactError("gone")) == "gone"
    assert "got:     0" in str(DataError("zero", value=0))


def test_all_errors_have_one_base() -> None:
    with pytest.raises(MMGRecError):
        raise DataError("x")
