"""One way of keeping things on disk: a folder with a checksummed manifest.

Data sets, tokenisers, training checkpoints and servable models are all *folders*: some files and a
``config.json`` that is written last and names every file with its size and SHA-256. A folder
without a valid ``config.json`` does not exist as far as readers are concerned, so a killed or
failed write can never be mistaken for a finished one. Nothing is pickled.

A single file, such as a report, is written by `write_file`: it is whole as well, or not there.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmgrec_engine.errors import ArtifactError

FORMAT_VERSION = 1
MANIFEST = "config.json"
STAGING_PREFIX = ".staging-"
MODEL = "model"
"""The kind of a run's folder, for who looks at one without reading it."""

Writer = Callable[[Path], None]


@dataclass(frozen=True)
class Folder:
    """An opened folder: its path, its configuration and its verified files."""

    path: Path
    kind: str
    config: dict[str, Any]
    files: dict[str, dict[str, Any]]

    def file(self, name: str) -> Path:
        """Return the path of ``name``, which must be listed in the manifest."""
        if name not in self.files:
            raise ArtifactError(
                f"{self.path} has no file {name!r}",
                allowed=", ".join(sorted(self.files)),
                remedy="write the folder again with this version of mmgrec",
            )
        return self.path / name


def write_folder(
    path: Path,
    kind: str,
    config: Mapping[str, Any],
    writers: Mapping[str, Writer],
    *,
    before_commit: Callable[[], None] | None = None,
) -> None:
    """Write a folder so that readers see the old state or the new one, never a mixture.

    ::

        stage every file beside its destination; fsync; hash
        remove the old manifest; move the files in; move the new manifest in, last
        killed in between, the next reader finishes the moves from the complete staging folder

    Parameters
    ----------
    path : Path
        The folder; made when missing. Files in it that ``writers`` does not name are left alone.
    kind : str
        What the folder is ("dataset", "tokenizer", "checkpoint", "model").
    config : mapping
        JSON-serialisable configuration.
    writers : mapping
        File name to a function that writes this file at the path it is given.
    before_commit : callable, optional
        Called when everything is staged and durable, right before the folder changes. What it
        raises stops the write.

    Raises
    ------
    ArtifactError
        The folder cannot be written (read-only, disk full). The old contents are then intact.
    """
    staging: Path | None = None
    committing = False
    try:
        path.mkdir(parents=True, exist_ok=True)
        _finish_killed_commit(path)  # before what it left is taken for stale
        remove_stale_staging(path)
        staging = Path(tempfile.mkdtemp(prefix=STAGING_PREFIX, dir=path))
        files = {name: _write_file(staging / name, write) for name, write in writers.items()}
        manifest = {
            "format": "mmgrec",
            "version": FORMAT_VERSION,
            "kind": kind,
            "config": dict(config),
            "files": files,
        }
        text = json.dumps(manifest, indent=2, sort_keys=True) + "\n"
        _write_manifest(staging, text)
        if before_commit is not None:
            before_commit()
        committing = True
        _commit(staging, path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        # Stopped within the commit, the staging folder is the only whole copy: the next reader
        # finishes the moves.
        if staging is not None and not (committing and not (path / MANIFEST).exists()):
            shutil.rmtree(staging, ignore_errors=True)


def write_file(path: Path, write: Writer) -> None:
    """Write one file so that readers see the old one or the new one, and either whole.

    ::

        write .NAME.PID.part beside it; fsync; rename; fsync of the folder

    Parameters
    ----------
    path : Path
        The file; its folder is made when missing.
    write : callable
        Writes it at the path that it is given.

    Raises
    ------
    ArtifactError
        It cannot be written (read-only, disk full). What was there is then intact.
    """
    partial = partial_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(partial)
            put_in_place(partial, path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise _unwritable(path, error) from error


def partial_of(path: Path) -> Path:
    """Return where this process writes a file before it gets its name."""
    return path.with_name(f".{path.name}.{os.getpid()}.part")


def put_in_place(partial: Path, path: Path) -> None:
    """Make a finished file durable under its name, in place of whatever has it."""
    _sync(partial)
    os.replace(partial, path)
    _sync_directory(path.parent)


def ensure_folder(path: Path) -> None:
    """Make a folder that can be written to.

    Raises
    ------
    ArtifactError
        It cannot be made, or may not be written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, "not writable", str(path))
    except OSError as error:
        raise _unwritable(path, error) from error


def open_folder(path: Path, kind: str, *, verify: bool = True) -> Folder:
    """Open a folder and check that it is whole.

    ::

        read config.json; check format, version, kind; compare size and SHA-256 of every file

    Parameters
    ----------
    path : Path
        The folder.
    kind : str
        The kind it must be.
    verify : bool
        Hash the files; without it only their sizes are compared.

    Raises
    ------
    ArtifactError
        Missing, unfinished, damaged, truncated, of another kind or from a newer version.
    """
    manifest = _read_manifest(path)
    _check_header(path, manifest, kind)
    try:
        for name, entry in manifest["files"].items():
            _check_file(path / name, entry, verify)
        return Folder(path, kind, manifest["config"], manifest["files"])
    except (KeyError, TypeError) as error:
        raise ArtifactError(
            f"{path / MANIFEST} is damaged",
            value=f"{type(error).__name__}: {error}",
            remedy="restore it from a copy, or write the folder again",
        ) from error
    except OSError as error:
        raise ArtifactError(
            f"{path} cannot be read", value=error, remedy="check its permissions and the disk"
        ) from error


def folder_exists(path: Path, kind: str) -> bool:
    """Say whether ``path`` holds a finished folder of this kind (contents unchecked)."""
    try:
        return bool(_read_manifest(path).get("kind") == kind)
    except ArtifactError:
        return False


def sha256_of(path: Path) -> str:
    """Hash a file in constant memory."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _write_file(path: Path, write: Writer) -> dict[str, Any]:
    write(path)
    _sync(path)
    return {"bytes": path.stat().st_size, "sha256": sha256_of(path)}


def _sync(path: Path) -> None:
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())


def _write_manifest(staging: Path, text: str) -> None:
    # Renamed within staging: a manifest there means that everything beside it is whole.
    partial = partial_of(staging / MANIFEST)
    partial.write_text(text, encoding="utf-8")
    put_in_place(partial, staging / MANIFEST)


def _commit(staging: Path, path: Path) -> None:
    # Without its manifest the folder is "unfinished" for the few renames that follow, so nobody
    # reads a mixture of two generations.
    files = list(staging.iterdir())
    (path / MANIFEST).unlink(missing_ok=True)
    _move_in(files, path)


def _move_in(files: list[Path], path: Path) -> None:
    for file in sorted(files, key=lambda file: file.name == MANIFEST):
        # A reader that finished the moves meanwhile has taken the file already.
        with contextlib.suppress(FileNotFoundError):
            os.replace(file, path / file.name)
    _sync_directory(path)


def _sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _finish_killed_commit(path: Path) -> None:
    """Do the moves that a killed `_commit` left undone, if its staging folder is complete."""
    if (path / MANIFEST).exists():
        return
    for staging in path.glob(STAGING_PREFIX + "*"):
        if (staging / MANIFEST).is_file():
            # No manifest is removed here: the writer may be alive and have moved it in by now. A
            # reader may lack the right to write.
            with contextlib.suppress(OSError):
                _move_in(list(staging.iterdir()), path)
                shutil.rmtree(staging, ignore_errors=True)


def remove_stale_staging(path: Path) -> None:
    """Remove what killed writes left in a folder that has its manifest, or never had one."""
    for leftover in path.glob(STAGING_PREFIX + "*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _read_manifest(path: Path) -> dict[str, Any]:
    if not path.is_dir():
        raise ArtifactError(f"{path} is not a folder", remedy="check the path")
    _finish_killed_commit(path)
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(
            f"{path} has no {MANIFEST}: it is empty, or the run that writes it has not finished",
            remedy="run the command that makes it again; finished steps are kept",
        ) from None
    except (ValueError, OSError) as error:
        raise ArtifactError(
            f"{path / MANIFEST} cannot be read", value=error, remedy="write the folder again"
        ) from error
    if not isinstance(manifest, dict):
        raise ArtifactError(
            f"{path / MANIFEST} is not a JSON object", value=type(manifest).__name__
        )
    return manifest


def _check_header(path: Path, manifest: dict[str, Any], kind: str) -> None:
    if manifest.get("format") != "mmgrec" or not isinstance(manifest.get("files"), dict):
        raise ArtifactError(f"{path / MANIFEST} was not written by mmgrec")
    if manifest.get("version") != FORMAT_VERSION:
        raise ArtifactError(
            f"{path} is in another format version",
            value=manifest.get("version"),
            allowed=str(FORMAT_VERSION),
            remedy="use the mmgrec version that wrote it, or write it again with this one",
        )
    if manifest.get("kind") != kind:
        raise ArtifactError(f"{path} is of another kind", value=manifest.get("kind"), allowed=kind)


def _check_file(path: Path, entry: dict[str, Any], verify: bool) -> None:
    remedy = "restore the file from a copy, or write the folder again"
    if not path.is_file():
        raise ArtifactError(f"{path} is missing", remedy=remedy)
    size = path.stat().st_size
    if size != entry["bytes"]:
        raise ArtifactError(
            f"{path} is truncated or was changed",
            value=f"{size} bytes",
            allowed=f"{entry['bytes']} bytes",
            remedy=remedy,
        )
    if verify and sha256_of(path) != entry["sha256"]:
        raise ArtifactError(f"{path} is damaged: its checksum does not match", remedy=remedy)


def _unwritable(path: Path, error: OSError) -> ArtifactError:
    reasons = {
        errno.ENOSPC: ("the disk is full", "free some space and run the command again"),
        errno.EDQUOT: ("the disk quota is used up", "free some space and run the command again"),
        errno.EROFS: ("the file system is read-only", "choose another folder"),
        errno.EACCES: ("permission is denied", "choose another folder or change its permissions"),
        errno.EPERM: ("permission is denied", "choose another folder or change its permissions"),
    }
    default = (error.strerror or str(error), "check the path and the disk")
    reason, remedy = reasons.get(error.errno or 0, default)
    return ArtifactError(f"cannot write {path}: {reason}", value=error, remedy=remedy)
