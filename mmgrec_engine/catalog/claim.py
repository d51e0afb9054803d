"""Which artifact a live catalogue was made for: a file beside it, written before it."""

from __future__ import annotations

import json
import os
from pathlib import Path

from mmgrec_engine.artifact import folder_exists
from mmgrec_engine.catalog.live_folder import KIND, unwritable
from mmgrec_engine.errors import ArtifactError

CLAIM = "artifact.json"


def catalog_exists(folder: Path) -> bool:
    """Say whether the folder holds a catalogue, damaged or not.

    A creation that was killed leaves a claim and a journal at most, and counts as nothing.
    """
    return folder_exists(folder, KIND) or (folder / "trie.bin").exists()


def claim(folder: Path, fingerprint: str) -> None:
    """Say that the catalogue that is about to be made here is of this artifact.

    Raises
    ------
    ArtifactError
        The folder cannot be written.
    """
    partial = folder / (CLAIM + ".part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with partial.open("w", encoding="utf-8") as stream:
            json.dump({"fingerprint": fingerprint}, stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, folder / CLAIM)
    except OSError as error:
        raise unwritable(folder, error) from error


def check_claim(folder: Path, fingerprint: str) -> None:
    """Check that the catalogue in the folder is of this artifact.

    Raises
    ------
    ArtifactError
        It is of another one, or its claim is missing or damaged.
    """
    try:
        found = json.loads((folder / CLAIM).read_text(encoding="utf-8"))["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"{folder / CLAIM} cannot be read", value=error, remedy="restore it from a copy"
        ) from error
    if found != fingerprint:
        raise ArtifactError(
            f"{folder} holds edits of another artifact: this one was trained anew since",
            value=f"edits of {str(found)[:12]}, artifact {fingerprint[:12]}",
            allowed="edits of the same Rec-IDs and tokeniser",
            remedy="move the folder away, then make the edits again with the new artifact",
        )
