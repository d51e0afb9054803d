"""All environment variables, in one typed table.

==================  =========================================================  =================
variable            meaning                                                    default
==================  =========================================================  =================
MMGREC_BACKEND      force one backend, of an engine and of every op with it    best available
MMGREC_THREADS      threads of a native call, and of torch                     one per processor
MMGREC_CACHE        folder for downloaded data                                 ~/.cache/mmgrec
MMGREC_SERVE_TOKEN  what edits and reloads over HTTP have to carry             none: refused
==================  =========================================================  =================
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from mmgrec_engine.errors import ConfigError


class Settings(BaseSettings):
    """The environment, parsed; see the module's table."""

    model_config = SettingsConfigDict(env_prefix="MMGREC_", frozen=True)

    backend: str | None = None
    threads: int | None = Field(default=None, ge=1)
    cache: Path = Path("~/.cache/mmgrec")
    serve_token: SecretStr | None = Field(default=None, min_length=1)


@cache
def settings() -> Settings:
    """Read the environment once.

    Raises
    ------
    ConfigError
        A variable is set to something that does not fit its type.
    """
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = "MMGREC_" + "_".join(str(part) for part in first["loc"]).upper()
        raise ConfigError(
            f"environment variable {name}: {first['msg']}",
            value=repr(first["input"]),
            remedy=f"set it right or unset {name}",
        ) from None


def num_threads() -> int:
    """Return how many threads a native call takes by default.

    ::

        MMGREC_THREADS, else one per processor that this process may run on
    """
    return settings().threads or len(os.sched_getaffinity(0))
