"""Files of arrays."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from scenewright_stages.vision.imaging.archives import save_arrays

ARRAYS = {
    "points": np.arange(12, dtype=np.float32).reshape(4, 3),
    "kinds": np.array(["ring", "scene"]),
    "none": np.zeros(0),
}


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    save_arrays(tmp_path / "a.npz", ARRAYS)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as loaded:
        assert set(loaded.files) == set(ARRAYS)
        for name, array in ARRAYS.items():
            assert loaded[name].dtype == array.dtype
            np.testing.assert_array_equal(loaded[name], array)


def test_no_byte_depends_on_the_version_of_python(tmp_path: Path) -> None:
    """Python 3.11.2 and 3.11.7 differ in the version that they write for members of which ZIP64 is asked."""
    save_arrays(tmp_path / "a.npz", ARRAYS)
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        assert {member.extract_version for member in archive.infolist()} == {20}


def test_objects_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Object arrays"):
        save_arrays(tmp_path / "a.npz", {"things": np.array([{}], dtype=object)})
