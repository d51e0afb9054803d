"""What requests and answers look like; the OpenAPI document is made of these."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, StrictInt, StrictStr

Id = StrictInt | StrictStr
"""Of an item or user, as in the data: compared exactly, so 7 and "7" are two ids."""

Positive = Annotated[int, Field(strict=True, ge=1)]
Vector = list[FiniteFloat]


class Body(BaseModel):
    """A JSON object without fields that nobody reads."""

    model_config = ConfigDict(extra="forbid")


class RecommendRequest(Body):
    """Histories, or known users, or both (then the users' vectors with these histories)."""

    histories: list[list[Id]] | None = Field(
        None, description="Items per user, oldest first. Who has none gets the most popular items."
    )
    users: list[Id] | None = Field(
        None, description="Users of the data that the model was trained on."
    )
    k: Positive = Field(10, description="Items per user.")
    beam_width: Positive = Field(50, description="Beams per user.")
    exclude_seen: bool = Field(True, strict=True, description="Leave out the history's items.")
    allow: list[Id] | None = Field(None, description="Only these items.")
    deny: list[Id] | None = Field(None, description="Never these items.")
    where: str | None = Field(None, description='Named filters: "in_stock and not adult".')
    exact: bool = Field(False, strict=True, description="The true best of the whole catalogue.")
    exact_limit: Positive = Field(
        20_000, description="Prefixes decoded per user before an exact search gives up proving."
    )
    deadline_ms: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="Afterwards the answer is 504."
    )
    columns: list[str] = Field(
        default_factory=list, description='Columns of the items table to add, such as "title".'
    )


class UserResult(BaseModel):
    """One user's items, best first."""

    items: list[Id]
    scores: list[float] | None = Field(
        description="Log-probabilities; null where the items are the most popular ones."
    )
    certified: bool = Field(description="Provably the k best of the whole catalogue.")
    source: str = Field(description='"model", or "popular" for a user without a history.')
    expanded: int | None = Field(None, description="Prefixes decoded, of an exact search.")
    limit_hit: bool | None = Field(None, description="An exact search gave up proving.")
    columns: dict[str, list[Any]] | None = Field(None, description="What was asked for.")


class RecommendAnswer(BaseModel):
    """Results in the order of the request."""

    model: str = Field(description="Version of the model that answered.")
    results: list[UserResult]


class InsertItems(Body):
    """New items, by features of their modalities or by item vectors."""

    ids: list[Id] = Field(min_length=1)
    features: dict[str, list[Vector]] | None = Field(
        None, description="Modality to one row per item; items lack what is not named."
    )
    present: dict[str, list[bool]] | None = Field(
        None, description="Modality to one flag per item: who has it."
    )
    vectors: list[Vector] | None = Field(None, description="Item vectors in place of features.")
    columns: dict[str, list[Any]] | None = Field(
        None, description='Columns of the items table, such as "title", one value per item.'
    )
    replace: bool = Field(
        False, strict=True, description="Give known items new features; their columns stay."
    )


class DeleteItems(Body):
    """Items to remove."""

    ids: list[Id] = Field(min_length=1)


class EditAnswer(BaseModel):
    """What an edit did. ``rec_ids``: the tokens of each item."""

    ids: list[Id]
    rec_ids: list[list[int]] | None = None


class Item(BaseModel):
    """An item of the catalogue."""

    id: Id
    live: bool = Field(description="False where it was deleted.")
    rec_id: list[int] | None
    columns: dict[str, Any]


class NamedFilter(Body):
    """The items of a named filter."""

    ids: list[Id]


class FilterNames(BaseModel):
    """Names that can be used in `where`."""

    filters: list[str]


class ModelInfo(BaseModel):
    """The model that answers."""

    name: str
    version: str
    items: int
    known_users: int
    id_type: str
    max_history: int
    backend: str
    precision: str
    modalities: dict[str, int] | None
    columns: list[str]


class ReloadAnswer(BaseModel):
    """A reload's end: the version that answers from now on."""

    version: str
    changed: bool
