"""Folders: whole or not there, whatever happens while they are written."""

from __future__ import annotations

import errno
import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mmgrec_engine.artifact import (
    MANIFEST,
    STAGING_PREFIX,
    folder_exists,
    open_folder,
    write_file,
    write_folder,
)
from mmgrec_engine.errors import ArtifactError
from mmgrec_engine.writers import read_arrays, write_arrays, write_bytes


def write(path: Path, content: bytes = b"new") -> None:
    write_folder(
        path, "test", {"a": 1}, {"x.bin": write_bytes(content), "y.bin": write_bytes(b"y")}
    )


def test_round_trip(tmp_path: Path) -> None:
    write(tmp_path / "f")
    opened = open_folder(tmp_path / "f", "test")
    assert opened.config == {"a": 1}
    assert opened.file("x.bin").read_bytes() == b"new"
    assert sorted(p.name for p in (tmp_path / "f").iterdir()) == [MANIFEST, "x.bin", "y.bin"]


def test_file_that_is_not_listed(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(ArtifactError, match=r"no file 'z.bin'"):
        open_folder(tmp_path, "test").file("z.bin")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_failed_write_keeps_the_old_contents(tmp_path: Path, code: int) -> None:
    write(tmp_path, b"old")

    def fail(path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(code, "no")

    with pytest.raises(ArtifactError, match=r"(disk is full|read-only|permission)"):
        write_folder(tmp_path, "test", {}, {"x.bin": write_bytes(b"new"), "y.bin": fail})
    assert open_folder(tmp_path, "test").file("x.bin").read_bytes() == b"old"
    assert not list(tmp_path.glob(".staging-*"))


def test_full_disk_for_real(tmp_path: Path) -> None:
    # A file size limit makes the kernel refuse the write, as a full disk does.
    code = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from mmgrec_engine.artifact import write_folder\n"
        "from mmgrec_engine.writers import write_bytes\n"
        "from mmgrec_engine.errors import ArtifactError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try:\n"
        "    write_folder(Path(sys.argv[1]), 'test', {}, {'x.bin': write_bytes(bytes(100_000))})\n"
        "except ArtifactError as error:\n"
        "    print(error); sys.exit(7)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "f")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 7, done.stderr
    assert "cannot write" in done.stdout
    assert not folder_exists(tmp_path / "f", "test")
    assert list((tmp_path / "f").iterdir()) == []


def test_kill_while_writing_leaves_the_old_folder(tmp_path: Path) -> None:
    write(tmp_path, b"old")
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from mmgrec_engine.artifact import write_folder\n"
        "def die(path):\n    path.write_bytes(b'half'); os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_folder(Path(sys.argv[1]), 'test', {}, {'x.bin': die})\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert open_folder(tmp_path, "test").file("x.bin").read_bytes() == b"old"
    write(tmp_path)
    assert not list(tmp_path.glob(".staging-*"))


@pytest.mark.parametrize("moves", [0, 1, 2])
def test_kill_between_the_moves_loses_nothing(tmp_path: Path, moves: int) -> None:
    write(tmp_path, b"old")
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from mmgrec_engine.artifact import write_folder\n"
        "from mmgrec_engine.writers import write_bytes\n"
        "replace, left = os.replace, [int(sys.argv[2]) + 1]\n"
        "def dying(a, b):\n"
        "    if left[0] == 0:\n        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    left[0] -= 1\n    replace(a, b)\n"
        "os.replace = dying\n"
        "files = {'x.bin': write_bytes(b'new'), 'y.bin': write_bytes(b'y')}\n"
        "write_folder(Path(sys.argv[1]), 'test', {}, files)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path), str(moves)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / MANIFEST).exists()
    assert open_folder(tmp_path, "test").file("x.bin").read_bytes() == b"new"
    assert not list(tmp_path.glob(".staging-*"))


def test_a_failed_write_after_a_killed_one_loses_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    write_folder(folder, "test", {"state": "new"}, {"a": write_bytes(b"new")})
    staging = folder / f"{STAGING_PREFIX}killed"  # as after a kill behind the old manifest's end
    staging.mkdir()
    for name in ("a", MANIFEST):
        (folder / name).rename(staging / name)

    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, "full")

    with pytest.raises(ArtifactError):
        write_folder(folder, "test", {}, {"a": full})
    opened = open_folder(folder, "test")
    assert opened.config["state"] == "new"
    assert opened.file("a").read_bytes() == b"new"


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "new" / "report.md"
    write_file(path, write_bytes(b"old"))

    def half(partial: Path) -> None:
        partial.write_bytes(b"ne")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(ArtifactError, match="disk is full"):
        write_file(path, half)
    assert [p.name for p in path.parent.iterdir()] == ["report.md"]
    assert path.read_bytes() == b"old"
    write_file(path, write_bytes(b"new"))
    assert path.read_bytes() == b"new"
    with pytest.raises(ArtifactError, match="cannot write"):
        write_file(path / "below", write_bytes(b""))


def _truncate(path: Path) -> None:
    (path / "x.bin").write_bytes(b"ne")


def _flip(path: Path) -> None:
    (path / "x.bin").write_bytes(b"nfw")


def _remove(path: Path) -> None:
    (path / "x.bin").unlink()


def _no_manifest(path: Path) -> None:
    (path / MANIFEST).unlink()


def _broken_manifest(path: Path) -> None:
    (path / MANIFEST).write_text('{"format": "mmgrec", ')


def _newer(path: Path) -> None:
    manifest = json.loads((path / MANIFEST).read_text())
    (path / MANIFEST).write_text(json.dumps({**manifest, "version": 99}))


DAMAGE = {
    _truncate: "truncated",
    _flip: "checksum",
    _remove: "missing",
    _no_manifest: "not finished",
    _broken_manifest: "cannot be read",
    _newer: "another format version",
}


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda f: f.__name__.strip("_"))
def test_damage_is_named(tmp_path: Path, damage: object) -> None:
    write(tmp_path)
    damage(tmp_path)  # type: ignore[operator]
    with pytest.raises(ArtifactError, match=DAMAGE[damage]):  # type: ignore[index]
        open_folder(tmp_path, "test")


def test_any_changed_byte_of_the_manifest_is_harmless_or_an_error(tmp_path: Path) -> None:
    write(tmp_path)
    manifest = tmp_path / MANIFEST
    whole = manifest.read_bytes()
    refused = 0
    for at in range(len(whole)):
        for bit in (1, 16):
            manifest.write_bytes(whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :])
            try:
                open_folder(tmp_path, "test")
            except ArtifactError:
                refused += 1
    assert refused > len(whole)
    manifest.write_bytes(whole)
    open_folder(tmp_path, "test")


def test_wrong_kind_and_missing_folder(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(ArtifactError, match="another kind"):
        open_folder(tmp_path, "model")
    with pytest.raises(ArtifactError, match="not a folder"):
        open_folder(tmp_path / "none", "test")


def test_arrays_survive_and_damaged_ones_are_named(tmp_path: Path) -> None:
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3).T, "b": np.array([True, False])}
    path = tmp_path / "a.safetensors"
    write_arrays(arrays)(path)
    read = read_arrays(path)
    assert all(np.array_equal(read[name], arrays[name]) for name in arrays)
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(ArtifactError, match=r"a\.safetensors"):
        read_arrays(path)
