"""What stages hand to each other is read as it was written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from scenewright_stages.contract.stage import Pixels
from scenewright_stages.photographs.pictures import read_rgb, read_rgba, with_alpha
from scenewright_stages.worker.stage.encoding import encode_png

RGB = np.random.default_rng(5).integers(0, 256, (40, 70, 3), dtype=np.uint8)
RGBA = np.random.default_rng(6).integers(0, 256, (40, 70, 4), dtype=np.uint8)


@pytest.mark.parametrize("values", [RGB, RGBA, RGB[..., 0], RGB[..., :1]])
@pytest.mark.parametrize("compressed", [True, False])
def test_a_stage_s_picture_is_read_as_it_was_written(tmp_path: Path, values: Any, compressed: bool) -> None:
    data = encode_png(Pixels(values), compressed=compressed)
    assert data == encode_png(Pixels(values), compressed=compressed)
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    shown = decoded[..., [2, 1, 0, 3][: decoded.shape[2]]] if decoded.ndim == 3 else decoded
    assert np.array_equal(shown, values[..., 0] if values.shape[2:] == (1,) else values)
    if values.shape[2:] == (3,):
        (tmp_path / "a.png").write_bytes(data)
        assert np.array_equal(read_rgb(tmp_path / "a.png"), RGB)


@pytest.mark.parametrize("compressed", [True, False])
def test_colours_and_matte_come_apart_as_they_were_put_together(tmp_path: Path, compressed: bool) -> None:
    pixels = with_alpha(RGB, RGBA[..., 3])
    (tmp_path / "a.png").write_bytes(encode_png(Pixels(pixels), compressed=compressed))
    colours, alpha = read_rgba(tmp_path / "a.png")
    assert np.array_equal(colours, RGB) and np.array_equal(alpha, RGBA[..., 3])


def test_a_file_that_is_not_a_png_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(OSError, match=r"a\.png"):
        read_rgb(tmp_path / "a.png")
