"""Photographs and supplied masks as people have them."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from scenewright_stages.contract.errors import SampleError
from scenewright_stages.photographs.pictures import plain_png, read_photograph
from scenewright_stages.vision.imaging.images import load_srgb

RGB = np.random.default_rng(4).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def chunk_bytes(chunk: bytes) -> bytes:
    """A part of a PNG, given its kind and content."""
    return struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))


def png(path: Path, *, chunk: bytes = b"", **options: object) -> bytes:
    """A PNG of the pixels, with a further chunk behind its header."""
    Image.fromarray(RGB).save(path, **options)
    data = path.read_bytes()
    if chunk:
        data = data[:33] + chunk_bytes(chunk) + data[33:]
        path.write_bytes(data)
    return data


def test_a_plain_png_is_read_as_the_careful_reader_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    assert plain_png(png(path, chunk=b"tEXtComment\0hello")) is not None
    found, careful = read_photograph(path), load_srgb(path)
    assert np.array_equal(found.pixels, RGB)
    assert found.png == path.read_bytes()
    assert np.abs(found.srgb - careful.srgb).max() < 1e-6


@pytest.mark.parametrize("chunk", [b"gAMA" + struct.pack(">I", 100000), b"eXIfMM\0*", b"tRNS\0\1\0\2\0\3"])
def test_a_png_whose_pixels_mean_something_else_goes_to_the_careful_reader(tmp_path: Path, chunk: bytes) -> None:
    assert plain_png(png(tmp_path / "a.png", chunk=chunk)) is None


def test_other_pixel_formats_go_to_the_careful_reader(tmp_path: Path) -> None:
    for name, image in {
        "grey": Image.fromarray(RGB[..., 0]),
        "palette": Image.fromarray(RGB).quantize(16),
        "transparent": Image.fromarray(np.dstack([RGB, RGB[..., :1]])),
    }.items():
        image.save(tmp_path / f"{name}.png")
        assert plain_png((tmp_path / f"{name}.png").read_bytes()) is None
        assert read_photograph(tmp_path / f"{name}.png").pixels.shape == RGB.shape


def test_sixteen_bits_and_an_orientation_at_the_end_go_to_the_careful_reader(tmp_path: Path) -> None:
    _, deep = cv2.imencode(".png", RGB.astype(np.uint16) * 257)
    assert plain_png(deep.tobytes()) is None
    data = png(tmp_path / "a.png")
    assert plain_png(data) is not None
    assert plain_png(data[:-12] + chunk_bytes(b"eXIfMM\0*\0\0\0\x08\0\0\0\0\0\0") + data[-12:]) is None


def test_a_rotated_jpeg_comes_out_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(RGB).save(tmp_path / "a.jpg", exif=exif)
    assert read_photograph(tmp_path / "a.jpg").pixels.shape == (60, 40, 3)


@pytest.mark.parametrize("damage", ["cut", "flip", "trailing"])
def test_a_damaged_png_never_passes_as_plain(tmp_path: Path, damage: str) -> None:
    data = png(tmp_path / "a.png")
    middle = len(data) // 2
    spoilt = {
        "cut": data[:middle],
        "flip": data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1 :],
        "trailing": data + b"x",
    }[damage]
    assert plain_png(data) is not None
    assert plain_png(spoilt) is None
    (tmp_path / "a.png").write_bytes(spoilt)
    if damage == "cut":
        with pytest.raises(SampleError) as failed:
            read_photograph(tmp_path / "a.png")
        assert failed.value.reason == "ImageTruncated"
