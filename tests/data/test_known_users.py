"""Users of a data set by their ids."""

from __future__ import annotations

import pytest

from mmgrec.data.dataset import Dataset, Split
from mmgrec.data.known_users import KnownUsers
from mmgrec_engine.errors import RequestError


def test_a_history_is_the_users_training_items(dataset: Dataset) -> None:
    known = KnownUsers(dataset)
    train = dataset.interactions.filter(dataset.interactions["split"] == int(Split.TRAIN))
    for row, user in enumerate(dataset.users["user"].to_list()[:5]):
        expected = train.filter(train["user_row"] == row)["item_row"].to_numpy()
        (history,) = known.histories([user], "users")
        assert sorted(history) == sorted(dataset.items["item"][expected].to_list())


def test_an_unknown_user_is_named(dataset: Dataset) -> None:
    with pytest.raises(RequestError, match="nobody"):
        KnownUsers(dataset).histories(["u1", "nobody"], "users")
