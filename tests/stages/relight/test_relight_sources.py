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
from scenewright_stages.relight.segment import read_mask, supplied_matte
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


def mask_file(path: Path, pixels: np.ndarray) -> Path:
    assert cv2.imwrite(str(path), pixels)
    return path


def test_masks_come_grey_coloured_transparent_or_deep(tmp_path: Path) -> None:
    wanted = np.zeros((40, 60), np.uint8)
    wanted[10:30, 20:50] = 255
    deep = wanted.astype(np.uint16) * 257
    transparent = np.dstack([np.zeros((40, 60, 3), np.uint8), wanted])
    for name, pixels in {"grey": wanted, "colour": np.dstack([wanted] * 3), "deep": deep, "alpha": transparent}.items():
        assert np.array_equal(read_mask(mask_file(tmp_path / f"{name}.png", pixels), (40, 60)), wanted), name


def test_a_mask_of_another_size_is_refused_and_says_both(tmp_path: Path) -> None:
    with pytest.raises(SampleError) as failed:
        read_mask(mask_file(tmp_path / "m.png", np.zeros((4, 6), np.uint8)), (40, 60))
    assert failed.value.reason == "MaskSizeDiffers"
    assert "(6, 4)" in failed.value.message
    assert "(60, 40)" in failed.value.message


def test_a_binary_mask_gets_a_soft_edge_and_a_matte_is_kept() -> None:
    srgb = RGB.astype(np.float32) / 255
    binary = np.zeros((40, 60), np.uint8)
    binary[10:30, 20:50] = 255
    soft = supplied_matte(srgb, binary, 3)
    assert ((soft > 0.05) & (soft < 0.95)).any()
    assert np.array_equal(supplied_matte(srgb, binary, 0), binary / np.float32(255))
    matte = cv2.GaussianBlur(binary, (0, 0), 2)
    assert np.array_equal(supplied_matte(srgb, matte, 3), matte / np.float32(255))
    classes = binary // 255
    assert np.array_equal(supplied_matte(srgb, classes, 3), soft)
