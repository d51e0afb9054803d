"""Arrays on disk, read and mapped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmgrec_engine.errors import ArtifactError
from mmgrec_engine.writers import map_arrays, read_arrays, write_arrays

ARRAYS = {
    "floats": np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32),
    "halves": np.arange(4, dtype=np.float16),
    "doubles": np.arange(6, dtype=np.float64).reshape(2, 3),
    "whole": np.arange(-3, 4, dtype=np.int64),
    "small": np.arange(7, dtype=np.uint8),
    "flags": np.array([True, False, True]),
    "one": np.array(7.5, np.float32),
    "none": np.zeros((0, 4), np.float32),
}


def test_mapped_arrays_are_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_arrays(ARRAYS)(path)
    mapped, read = map_arrays(path), read_arrays(path)
    assert mapped.keys() == read.keys() == ARRAYS.keys()
    for name, wanted in ARRAYS.items():
        assert mapped[name].dtype == wanted.dtype
        np.testing.assert_array_equal(mapped[name], wanted)
        np.testing.assert_array_equal(read[name], wanted)
        assert not mapped[name].flags.writeable


def test_mapped_arrays_outlive_the_replacement_of_their_file(tmp_path: Path) -> None:
    path, other = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    write_arrays(ARRAYS)(path)
    mapped = map_arrays(path)
    write_arrays({"floats": np.zeros(1, np.float32)})(other)
    other.replace(path)
    np.testing.assert_array_equal(mapped["floats"], ARRAYS["floats"])


@pytest.mark.parametrize("keep", [0, 4, 40, -1])
def test_a_cut_file_is_an_error(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "a.safetensors"
    write_arrays(ARRAYS)(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ArtifactError, match="not a readable safetensors file"):
        map_arrays(path)
