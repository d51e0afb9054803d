"""What the C++ core refuses, as errors of ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mmgrec_engine import _native
from mmgrec_engine.errors import ArtifactError, ConfigError


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
