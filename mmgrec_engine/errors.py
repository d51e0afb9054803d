"""Every error that a user can cause, in one family with one shape of message."""

from __future__ import annotations


class MMGRecError(Exception):
    """Base of all errors raised on purpose.

    ::

        raise DataError("visual.npy has NaN", value="row 17", allowed="finite numbers",
                        remedy="fix the row, or list it in the mask")
        # visual.npy has NaN
        #   got:     row 17
        #   allowed: finite numbers
        #   to do:   fix the row, or list it in the mask

    Parameters
    ----------
    what : str
        What was wrong, naming the thing (file, column, argument).
    value : object, optional
        The offending value.
    allowed : str, optional
        What would have been accepted.
    remedy : str, optional
        What the reader can do about it.
    """

    def __init__(
        self,
        what: str,
        *,
        value: object = None,
        allowed: str | None = None,
        remedy: str | None = None,
    ) -> None:
        self.what = what
        self.value = value
        self.allowed = allowed
        self.remedy = remedy
        lines = [what]
        if value is not None:
            lines.append(f"  got:     {value}")
        if allowed is not None:
            lines.append(f"  allowed: {allowed}")
        if remedy is not None:
            lines.append(f"  to do:   {remedy}")
        super().__init__("\n".join(lines))


class DataError(MMGRecError):
    """A data set, table or feature matrix cannot be used as it is."""


class ConfigError(MMGRecError):
    """A setting, option or preset is unknown or out of range."""


class ArtifactError(MMGRecError):
    """A folder or file on disk is missing, damaged or from another version."""


class BackendError(MMGRecError):
    """A requested backend does not exist or cannot run here."""


class RequestError(MMGRecError):
    """A recommendation request names things the engine does not know."""


class EditError(MMGRecError):
    """An edit of a live catalogue contradicts what is in it; nothing of its batch was made."""
