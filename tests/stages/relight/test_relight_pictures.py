"""What stages hand to each other is read as it was written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from scenewright_stages.contract.stage import Pixels
from scenewright_stages.photographs.pictures import read_rgb, read_rgba, with_alpha
from scenewright_stages.worker.stage.encoding import encode_png

RGB = np.random.default_rng(5).integers(0, 256, (40, 70, 3), dtype=np.uint8)
RGBA = np.random.default_rng(6).integers(0, 256, (40, 70, 4), dtype=np.uint8)


@pytest.mark.parametrize("compressed", [True, False])
def test_colours_are_read_as_they_were_written(tmp_path: Path, compressed: bool) -> None:
    (tmp_path / "a.png").write_bytes(encode_png(Pixels(RGB), compressed=compressed))
    assert np.array_equal(read_rgb(tmp_path / "a.png"), RGB)


@pytest.mark.parametrize("compressed", [True, False])
def test_colours_and_matte_come_apart_as_they_were_put_together(tmp_path: Path, compressed: bool) -> None:
    pixels = with_alpha(RGB, RGBA[..., 3])
    (tmp_path / "a.png").write_bytes(encode_png(Pixels(pixels), compressed=compressed))
    colours, alpha = read_rgba(tmp_path / "a.png")
    assert np.array_equal(colours, RGB) and np.array_equal(alpha, RGBA[..., 3])


def test_what_is_no_png_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(OSError, match=r"a\.png"):
        read_rgb(tmp_path / "a.png")
