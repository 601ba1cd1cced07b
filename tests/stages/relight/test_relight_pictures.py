"""What stages hand to each other is read as it was written, quickly where it was written to be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from scenewright_stages.contract.stage import Pixels
from scenewright_stages.photographs.pictures import read_rgb, read_rgba, unfiltered, with_alpha
from scenewright_stages.worker.stage.encoding import encode_png

RGB = np.random.default_rng(5).integers(0, 256, (40, 70, 3), dtype=np.uint8)
RGBA = np.random.default_rng(6).integers(0, 256, (40, 70, 4), dtype=np.uint8)
ONE_BLOCK = np.full((255, 64, 4), 7, np.uint8)
"""Rows of 257 bytes with their filter's: 255 of them are what deflate stores in one block, to the last byte."""


@pytest.mark.parametrize("values", [RGB, RGBA, np.repeat(RGB, 30, axis=0), ONE_BLOCK])
def test_an_uncompressed_file_is_read_without_a_decoder_and_by_every_decoder_alike(values: Any) -> None:
    data = stored_png(values)
    found = unfiltered(data)
    assert found is not None and np.array_equal(found, values) and found.flags.c_contiguous
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(decoded[..., [2, 1, 0, 3][: values.shape[2]]], values)


def test_all_other_files_are_left_to_the_decoder(tmp_path: Path) -> None:
    bgr = cv2.cvtColor(RGB, cv2.COLOR_RGB2BGR)
    stored_but_filtered = cv2.imencode(".png", bgr, (cv2.IMWRITE_PNG_COMPRESSION, 0))[1].tobytes()
    others = [stored_but_filtered, encode_png(Pixels(RGB), compressed=True), stored_png(RGB[..., 0]), b"", b"\x89PNG"]
    assert [unfiltered(data) for data in others] == [None] * len(others)
    for name, content in {"a.png": others[0], "b.png": others[1], "c.png": stored_png(RGB)}.items():
        (tmp_path / name).write_bytes(content)
        assert np.array_equal(read_rgb(tmp_path / name), RGB)


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
