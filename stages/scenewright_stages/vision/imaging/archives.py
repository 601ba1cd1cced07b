"""Writes deterministic ``.npz`` files, whose bytes depend only on the arrays."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a ZIP file can hold."""


def save_arrays(path: Path | str, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Writes uncompressed arrays as ``numpy.load`` reads them; no array of Python objects.

    ``numpy.savez`` always requests ZIP64, which Python 3.11.4 and later record in two header bytes and earlier do not.

    Raises:
        ValueError: an array holds Python objects.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, np.asanyarray(array), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", _EPOCH), content.getbuffer())
