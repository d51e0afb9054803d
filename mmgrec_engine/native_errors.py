"""What the C++ core refuses, as errors of ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from mmgrec_engine import _native
from mmgrec_engine.errors import ArtifactError, ConfigError, EditError


@contextmanager
def named_errors(what: str) -> Iterator[None]:
    """Turn what the core refuses into a `ConfigError` or `ArtifactError` that names the caller."""
    try:
        yield
    except _native.DamagedFile as error:
        raise ArtifactError(
            f"{what}: {error}", remedy="restore the trie's file from a copy, or write it again"
        ) from None
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{what}: {str(error).splitlines()[0]}") from None


def raise_edit_error(error: Exception) -> NoReturn:
    """Raise the core's `EditError` as ours."""
    what, value, allowed, remedy = error.args
    raise EditError(what, value=value, allowed=allowed, remedy=remedy) from None
