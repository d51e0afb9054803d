"""Which artifact a live catalogue was made for: a file beside it, written before it."""

from __future__ import annotations

import json
from pathlib import Path

from mmgrec_engine.artifact import folder_exists, write_file
from mmgrec_engine.catalog.live_folder import KIND
from mmgrec_engine.errors import ArtifactError
from mmgrec_engine.writers import write_json

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
    write_file(folder / CLAIM, write_json({"fingerprint": fingerprint}))


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
